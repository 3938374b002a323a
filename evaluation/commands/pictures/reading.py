"""How many characters a real reader (RapidOCR) finds again, over bytes, against other formats."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from cloud_server.inference.mllm.rapidocr import PACKAGE, Reader
from edge_client.pictures.images import Picture, fit
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pictures import picture_set
from evaluation.codecs.pillow_formats import AVIF, JPEG, WEBP
from evaluation.codecs.senders import FLAT, MAPPED, Send, Sender, classical, own
from evaluation.judges.reading import LEGIBLE, Print, characters_found, fold
from evaluation.report import plots
from evaluation.report.document import command_line, percent, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from evaluation.stats.equal_score import Scores, changes
from scenes import Backgrounds
from scenes.pages import KINDS, Fonts, render_page
from shared.bundle import open_bundle
from shared.errors import UsageError

QUALITIES: Final = (3.5, 4.0, 4.5, 5.0, 6.0)
LADDERS: Final = {AVIF: (8, 14, 20, 27, 40), WEBP: (0, 2, 5, 12, 25), JPEG: (6, 10, 18)}
"""Where about half to nearly all characters are read; reading is slow."""

WINDOWS: Final = ((0.4, 0.6), (0.6, 0.8), (0.8, 0.9))
SIZES: Final = ((0, "under 10 px"), (10, "10 to 14 px"), (14, "14 to 20 px"), (20, "over 20 px"))
"""Heights of print that are told apart, from so many pixels an em on."""


@dataclass(frozen=True)
class Subject:
    """A picture with the print that is scored in it.

    lines: of pages what is printed; of other pictures nothing: what is read uncompressed counts.
    sizes: pixels an em of each line, where they are known.
    """

    name: str
    kind: str
    picture: Picture
    lines: tuple[Print, ...] = ()
    sizes: tuple[float, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=Path, help="folder; default: pages of the test split")
    parser.add_argument("--most", type=int, default=2 * len(KINDS), help="only the first N")
    parser.add_argument("--side", type=int, default=384, help="long side in pixels")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--mapped-qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=[form.name for form in LADDERS],
        default=[form.name for form in LADDERS],
        help="that ours is compared with",
    )
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--threads", type=int, default=1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write tables and plot."""
    torch.set_num_threads(arguments.threads)
    cotam = CotamCodec(open_bundle(arguments.bundle), arguments.threads)
    where, subjects = _subjects(arguments)
    senders = [
        own(cotam, False, arguments.qualities),
        own(cotam, True, arguments.mapped_qualities),
        *(classical(form, LADDERS[form]) for form in LADDERS if form.name in arguments.formats),
    ]
    records = Records(arguments.results / "reading.jsonl")
    read = Reading(Reader(arguments.threads), records)
    measured = [read.subject(s, senders) for s in tqdm(subjects, desc="reading", unit="picture")]
    name = f"reading_{where}_{arguments.side}"
    report = _Report(senders, subjects, measured, arguments)
    report.draw(arguments.report.parent / "img" / f"{name}.png")
    write_section(arguments.report, name, report.text(cotam, name))


def _subjects(arguments: argparse.Namespace) -> tuple[str, list[Subject]]:
    """What is read, and a word for it that may stand in a file's name."""
    if arguments.pictures is not None:
        pictures = picture_set(arguments.pictures, arguments.most)
        scaled = (fit(pictures.load(i), arguments.side, 0) for i in range(len(pictures.files)))
        return re.sub(r"\W+", "_", arguments.pictures.resolve().name), [
            Subject(path.name, "", picture)
            for path, picture in zip(pictures.files, scaled, strict=True)
        ]
    try:
        return "pages", list(pages(arguments.most, arguments.side))
    except ValueError as error:
        raise UsageError(str(error)) from error


def pages(count: int, side: int) -> Iterator[Subject]:
    """Pages 0 .. count - 1 of the test split, `side` pixels square.

    Raises ValueError without their fonts.
    """
    fonts, backgrounds = Fonts.pinned(), Backgrounds.builtin()
    for index in range(count):
        page = render_page("test", index, fonts, backgrounds, (side, side))
        lines = tuple(Print(line.text, line.quad) for line in page.lines)
        sizes = tuple(line.size for line in page.lines)
        yield Subject(f"page {index}", page.kind, page.picture, lines, sizes)


@dataclass(frozen=True)
class Measured:
    """What was read of one picture.

    legible: which of its lines are scored; characters: of each line, folded.
    sizes: bytes by sender and setting; recovered: of each line, the characters read again.
    """

    legible: tuple[bool, ...]
    characters: tuple[int, ...]
    heights: tuple[float, ...]
    sizes: dict[str, list[int]]
    recovered: dict[str, list[list[int]]]


class Reading:
    """Reads pictures as they come back, or takes what is on record."""

    def __init__(self, reader: Reader, records: Records) -> None:
        self.reader, self.records = reader, records
        self.judge = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"

    def subject(self, subject: Subject, senders: Sequence[Sender]) -> Measured:
        where = {
            "judge": self.judge,
            "picture": subject.name,
            "crc": zlib.crc32(subject.picture.tobytes()),
        }
        original = self.records.measure(
            {**where, "codec": "original"}, lambda: self._read(0, subject.picture)
        )
        lines = subject.lines or tuple(_prints(original))
        lines = tuple(line for line in lines if fold(line.text))
        heights = subject.sizes or (0.0,) * len(lines)
        sizes: dict[str, list[int]] = {}
        recovered: dict[str, list[list[int]]] = {}
        for sender in senders:
            prepared = sender.prepare(subject.picture)
            for setting in sender.settings:
                value = self.records.measure(
                    {**where, **prepared.identity, "quality": setting},
                    self._reading(prepared.send, setting),
                )
                sizes.setdefault(sender.name, []).append(value["bytes"])
                reads = list(_prints(value))
                recovered.setdefault(sender.name, []).append(
                    [characters_found(line, reads) for line in lines]
                )
        characters = tuple(len(fold(line.text)) for line in lines)
        best = list(_prints(original))
        legible = tuple(
            characters_found(line, best) >= LEGIBLE * count
            for line, count in zip(lines, characters, strict=True)
        )
        return Measured(legible, characters, tuple(heights), sizes, recovered)

    def _reading(self, send: Send, setting: float) -> Callable[[], Fields]:
        return lambda: self._read(*send(setting))

    def _read(self, size: int, picture: Picture) -> Fields:
        lines = self.reader.read(picture)
        rows = [[line.text, [[round(x, 1), round(y, 1)] for x, y in line.quad]] for line in lines]
        return {"bytes": size, "lines": rows}


def scores_of(measured: Sequence[Measured], sender: str) -> Scores:
    """Characters of the legible lines that were found, of those there are; each picture has one."""
    masks = [np.array(picture.legible) for picture in measured]
    counts = [
        np.array(picture.characters)[mask].sum()
        for picture, mask in zip(measured, masks, strict=True)
    ]
    points = [
        np.array(picture.recovered[sender])[:, mask].sum(1)
        for picture, mask in zip(measured, masks, strict=True)
    ]
    sizes = [picture.sizes[sender] for picture in measured]
    return Scores(np.array(sizes, float).T, np.array(points, float).T, np.array(counts, float))


def _prints(value: Fields) -> Iterator[Print]:
    return (Print(text, quad) for text, quad in value["lines"])


class _Report:
    """Tables and plot of what was measured."""

    def __init__(
        self,
        senders: Sequence[Sender],
        subjects: Sequence[Subject],
        measured: Sequence[Measured],
        arguments: argparse.Namespace,
    ) -> None:
        self.arguments = arguments
        self.senders = senders
        kept = [i for i, picture in enumerate(measured) if any(picture.legible)]
        if not kept:
            raise UsageError("no line of these pictures is legible uncompressed")
        self.measured = [measured[i] for i in kept]
        self.kinds = np.array([subjects[i].kind for i in kept])
        self.all_measured, self.all_kinds = measured, [s.kind for s in subjects]
        self.scores = {sender.name: scores_of(self.measured, sender.name) for sender in senders}
        self.drawn = resamples(len(kept), arguments.resamples)

    def text(self, cotam: CotamCodec, name: str) -> str:
        """The section of the report."""
        lines = sum(sum(picture.legible) for picture in self.measured)
        characters = int(self.scores[FLAT].weights.sum())
        formats = "; ".join(f.describe() for f in LADDERS if f.name in self.arguments.formats)
        if self.arguments.pictures is None:
            source = (
                f"{len(self.all_measured)} pages of the test split (`scenes.pages`, "
                f"{self.arguments.side}x{self.arguments.side}, fonts {Fonts.pinned().digest}, "
                "backgrounds of scikit-image)"
            )
            scored = f"the {lines} lines of which the reader finds {LEGIBLE:.0%} uncompressed"
        else:
            source = (
                f"{len(self.all_measured)} pictures of `{self.arguments.pictures.resolve().name}`, "
                f"long side at most {self.arguments.side} pixels"
            )
            scored = f"the {lines} lines that the reader finds in the uncompressed pictures"
        judge = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
        parts = [
            command_line(self.arguments.words),
            f"{source}. Read by {judge}. Share of characters read again, by line and edit "
            f"distance; case, spaces and punctuation do not count. Scored are {scored} "
            f"({characters:,} characters). Bundle {cotam.bundle.hex_id}; {formats}.",
            self._changes(),
            self._points(),
        ]
        if self.arguments.pictures is None:
            parts += [self._legible_by_kind(), self._legible_by_size()]
        return "\n\n".join([*parts, f"![Characters over bytes](img/{name}.png)"])

    def _changes(self) -> str:
        """Bits at equal share of characters, of flat and mapped against each other sender."""
        anchors = [s.name for s in self.senders if s.name not in (FLAT, MAPPED)]
        rows = []
        for test, against in [(FLAT, a) for a in anchors] + [(MAPPED, a) for a in (FLAT, *anchors)]:
            cells = [
                with_interval(
                    changes(self.scores[against], self.scores[test], self.drawn, low, high)
                )
                for low, high in WINDOWS
            ]
            rows.append([f"{test} against {against}", *cells])
        head = ["bits", *(f"at {low:g} to {high:g} of the characters" for low, high in WINDOWS)]
        note = (
            "Change of bits at equal share of characters; below 0 is fewer. In brackets the middle "
            f"95 % of {self.arguments.resamples} paired resamples of the pictures (seed {SEED}); "
            "*none* where a curve does not reach the upper end; from its smallest file on where a "
            "format scores above the lower end already. *flat* is without "
            "level map, *mapped* as the edge sends by default."
        )
        return f"{note}\n\n{table(head, rows)}"

    def _points(self) -> str:
        once = self.drawn[:1]
        rows = []
        for sender in self.senders:
            scores = self.scores[sender.name]
            sizes, shares = scores.curves(once)
            of_pictures = (scores.points / scores.weights).mean(axis=1)
            cells = zip(sender.settings, sizes[0], shares[0], of_pictures, strict=True)
            for setting, size, share, mean in cells:
                name = f"{sender.name}, {setting:g}"
                rows.append([name, f"{size:,.0f}", f"{share:.3f}", f"{mean:.3f}"])
        head = ["sender, quality", "bytes", "share of characters", "mean of the pictures' shares"]
        return table(head, rows)

    def _legible_by_kind(self) -> str:
        """What the reader reads uncompressed, and where ours stands by kind of page."""
        rows = []
        for kind in KINDS:
            of_kind = [
                picture
                for picture, of in zip(self.all_measured, self.all_kinds, strict=True)
                if of == kind
            ]
            lines = sum(len(picture.legible) for picture in of_kind)
            if not lines:
                continue
            chosen = self.kinds == kind
            cells = [
                with_interval(
                    changes(
                        self.scores["AVIF"].only(chosen),
                        self.scores[FLAT].only(chosen),
                        np.ones((1, int(chosen.sum()))),
                        low,
                        high,
                    )
                )
                if chosen.any()
                else "none"
                for low, high in WINDOWS
            ]
            legible = percent(sum(sum(picture.legible) for picture in of_kind) / lines)
            rows.append([kind, str(len(of_kind)), str(lines), legible, *cells])
        head = ["kind", "pages", "lines", "legible uncompressed"]
        head += [f"flat against AVIF, {low:g} to {high:g}" for low, high in WINDOWS]
        return table(head, rows)

    def _legible_by_size(self) -> str:
        lines: Counter[str] = Counter()
        legible: Counter[str] = Counter()
        for picture in self.all_measured:
            for height, is_legible in zip(picture.heights, picture.legible, strict=False):
                label = [name for least, name in SIZES if height >= least][-1]
                lines[label] += 1
                legible[label] += is_legible
        rows = [
            [name, str(lines[name]), percent(legible[name] / lines[name])]
            for _, name in SIZES
            if lines[name]
        ]
        return table(["size of print, an em", "lines", "legible uncompressed"], rows)

    def draw(self, path: Path) -> None:
        """Share of characters over mean bytes."""
        made, (axis,) = plots.figure(1, 1, 6.4, 4.0)
        names = {FLAT: "ours", MAPPED: "guidance"}
        for sender in self.senders:
            sizes, shares = self.scores[sender.name].curves(self.drawn[:1])
            label = f"CoTAM, {sender.name}" if sender.name in names else sender.name
            plots.line(axis, sizes[0], 100 * shares[0], names.get(sender.name, sender.name), label)
        axis.set(xlabel="bytes of a picture", ylabel="characters read again, %")
        plots.log_bytes(axis, (500, 1000, 2000, 5000, 10000, 20000, 50000))
        axis.legend(frameon=False, fontsize=8, loc="best")
        made.suptitle(f"What a reader finds again, {len(self.measured)} pictures", fontsize=10)
        plots.save(made, path)
