"""How often a real classifier's answer stays the same, over bytes, against other formats."""

from __future__ import annotations

import argparse
import functools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pictures import PictureSet, picture_set
from evaluation.codecs.pillow_formats import AVIF, JPEG, WEBP
from evaluation.codecs.senders import FLAT, MAPPED, Prepared, Send, Sender, classical, own
from evaluation.judges.classifier import RANGES, Classifier
from evaluation.report import plots
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from evaluation.stats.equal_score import Scores, changes
from shared.bundle import open_bundle
from shared.errors import UsageError
from shared.files import write_named

SURE: Final = 0.9
QUALITIES: Final = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 8.8)
LADDERS: Final = (
    (AVIF, (3, 8, 27, 34)),
    (WEBP, (0, 3, 6, 12, 20, 32)),
    (JPEG, (5, 8, 12, 18, 26)),
)
"""From a third of the answers to three quarters, so that probabilities reach 0.65 as well."""

MEASURES: Final = {"agreement": (0.5, 0.65), "probability": (0.35, 0.65)}
"""Share of answers that stay, probability of the original's class; where they are compared."""

Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classifier",
        type=Path,
        nargs="+",
        required=True,
        help="a .tflite or .onnx file; several are told apart, the first names who is sure",
    )
    parser.add_argument("--pictures", type=Path, help="folder; default: scikit-image's photographs")
    parser.add_argument("--most", type=int, default=0, help="only the first N pictures")
    parser.add_argument(
        "--input", choices=RANGES, default=RANGES[0], help="of a classifier that takes floats"
    )
    parser.add_argument(
        "--sure", type=Path, help="file of names of pictures that are told apart, one a line"
    )
    parser.add_argument(
        "--write-sure",
        type=Path,
        metavar="FILE",
        help=f"write the names of those classified at {SURE} or surer uncompressed, and stop",
    )
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--mapped-qualities", type=float, nargs="*", default=list(QUALITIES))
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--threads", type=int, default=1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write tables and plot."""
    torch.set_num_threads(arguments.threads)
    classifiers = [
        Classifier(file, arguments.input, arguments.threads) for file in arguments.classifier
    ]
    pictures = picture_set(arguments.pictures, arguments.most)
    if arguments.write_sure:
        names = "".join(f"{name}\n" for name in _sure(classifiers[0], pictures))
        write_named(arguments.write_sure, names.encode())
        return
    cotam = CotamCodec(open_bundle(arguments.bundle), arguments.threads)
    senders = [
        own(cotam, False, arguments.qualities),
        *([own(cotam, True, arguments.mapped_qualities)] if arguments.mapped_qualities else []),
        *(classical(form, qualities) for form, qualities in LADDERS),
    ]
    records = Records(arguments.results / "classifying.jsonl")
    scores = measure(classifiers, pictures, senders, records)
    report = _Report(senders, scores, _marked(pictures, arguments.sure), arguments)
    name = f"classifying_{arguments.most}" if arguments.most else "classifying"
    report.draw(arguments.report.parent / "img" / f"{name}.png")
    write_section(arguments.report, name, report.text(cotam, classifiers, pictures, name))


def _sure(classifier: Classifier, pictures: PictureSet) -> list[str]:
    return [
        path.name
        for number, path in enumerate(pictures.files)
        if classifier.probabilities(pictures.load(number)).max() >= SURE
    ]


def _marked(pictures: PictureSet, file: Path | None) -> Array:
    """Which pictures the file names, a mask [P]; none without a file."""
    if file is None:
        return np.zeros(len(pictures.files), bool)
    try:
        names = set(file.read_text().split())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    marked = np.array([path.name in names for path in pictures.files])
    if not marked.any():
        raise UsageError(f"{file} names none of the pictures", hint="one file name a line")
    return marked


def measure(
    classifiers: Sequence[Classifier],
    pictures: PictureSet,
    senders: Sequence[Sender],
    records: Records,
) -> list[dict[str, dict[str, Scores]]]:
    """Scores of each classifier, by sender, by measure."""
    judgements = [_Judgements(classifier, records, senders) for classifier in classifiers]
    for number, path in enumerate(tqdm(pictures.files, desc="classifying", unit="picture")):
        picture = pictures.load(number)
        # What comes back is made once for all classifiers, and only where one lacks its answer.
        sent = {sender.name: _cached(sender.prepare(picture)) for sender in senders}
        for judgement in judgements:
            judgement.judge(path.name, picture, sent)
    return [judgement.scores() for judgement in judgements]


def _cached(prepared: Prepared) -> Prepared:
    return replace(prepared, send=functools.cache(prepared.send))


class _Judgements:
    """What one classifier answers on pictures as they come back, or what is on record of it."""

    def __init__(self, classifier: Classifier, records: Records, senders: Sequence[Sender]) -> None:
        self.classifier, self.records, self.senders = classifier, records, senders
        self.answers: list[int] = []
        self.rows: dict[str, list[list[Fields]]] = {sender.name: [] for sender in senders}

    def judge(self, name: str, picture: Picture, sent: Mapping[str, Prepared]) -> None:
        """Judge a picture u8 [H, W, 3], and what each sender makes of it."""
        where = {
            "judge": self.classifier.digest,
            "input": self.classifier.values,
            "picture": name,
            "crc": zlib.crc32(picture.tobytes()),
        }
        original = self.records.measure({**where, "codec": "original"}, self._judge, 0, picture)
        answer = original["answer"]
        self.answers.append(answer)
        for sender in self.senders:
            self.rows[sender.name].append(
                [
                    self.records.measure(
                        {**where, **sent[sender.name].identity, "quality": setting},
                        self._judge_sent,
                        sent[sender.name].send,
                        setting,
                        answer,
                    )
                    for setting in sender.settings
                ]
            )

    def scores(self) -> dict[str, dict[str, Scores]]:
        """By sender and measure."""
        return {name: _scores(values, self.answers) for name, values in self.rows.items()}

    def _judge_sent(self, send: Send, setting: float, answer: int) -> Fields:
        return self._judge(*send(setting), answer)

    def _judge(self, size: int, picture: Picture, answer: int | None = None) -> Fields:
        """Size, answer, and the probability of the `answer` that the original got; its own: None"""
        probabilities = self.classifier.probabilities(picture)
        best = int(probabilities.argmax())
        wanted = best if answer is None else answer
        return {"bytes": size, "answer": best, "probability": float(probabilities[wanted])}


def _scores(values: list[list[Fields]], answers: list[int]) -> dict[str, Scores]:
    sizes = np.array([[v["bytes"] for v in row] for row in values], np.float64).T
    stays = np.array(
        [[v["answer"] == a for v in row] for row, a in zip(values, answers, strict=True)]
    )
    probable = np.array([[v["probability"] for v in row] for row in values])
    ones = np.ones(len(values))
    return {
        "agreement": Scores(sizes, stays.T.astype(np.float64), ones),
        "probability": Scores(sizes, probable.T, ones),
    }


class _Report:
    """Tables and plot of what was measured."""

    def __init__(
        self,
        senders: Sequence[Sender],
        scores: Sequence[dict[str, dict[str, Scores]]],
        marked: Array,
        arguments: argparse.Namespace,
    ) -> None:
        self.senders, self.scores = senders, scores
        self.marked, self.arguments = marked, arguments

    def text(
        self,
        cotam: CotamCodec,
        classifiers: Sequence[Classifier],
        pictures: PictureSet,
        name: str,
    ) -> str:
        """The section of the report."""
        formats = "; ".join(form.describe() for form, _ in LADDERS)
        spans = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in MEASURES.items())
        parts = [
            command_line(self.arguments.words),
            f"{len(pictures.files)} pictures: {pictures.name}, whole. *agreement* is the share of "
            "pictures whose answer is that on the uncompressed picture, *probability* the mean "
            f"probability of that answer. Bundle {cotam.bundle.hex_id}; *flat* is without level "
            f"map, *mapped* as the edge sends by default. {formats}.",
            f"Change of bits at equal score ({spans}); below 0 is fewer. In brackets the middle "
            f"95 % of {self.arguments.resamples} paired resamples of the pictures (seed {SEED}); "
            "*none* where a curve does not reach the upper end; from its smallest file on where a "
            "format scores above the lower end already.",
        ]
        for classifier, scores in zip(classifiers, self.scores, strict=True):
            parts += [
                f"`{classifier.name}` (SHA-256 {classifier.digest}...), all pictures:",
                self._changes(scores, np.ones(len(self.marked), bool)),
            ]
            if self.marked.any():
                parts += [
                    f"`{classifier.name}`, the {int(self.marked.sum())} pictures that "
                    f"`{self.arguments.sure.name}` names ({classifiers[0].name} classifies them "
                    f"at {SURE:g} or surer uncompressed) alone:",
                    self._changes(scores, self.marked),
                ]
        parts += [self._points(classifiers), f"![Answers over bytes](img/{name}.png)"]
        return "\n\n".join(parts)

    def _changes(self, scores: dict[str, dict[str, Scores]], chosen: Array) -> str:
        drawn = resamples(int(chosen.sum()), self.arguments.resamples)
        anchors = [s.name for s in self.senders if s.name not in (FLAT, MAPPED)]
        pairs = [(FLAT, anchor) for anchor in anchors]
        if MAPPED in scores:
            pairs += [(MAPPED, anchor) for anchor in (FLAT, *anchors)]
        rows = [
            [
                f"{test} against {against}",
                *(
                    with_interval(
                        changes(
                            scores[against][name].only(chosen),
                            scores[test][name].only(chosen),
                            drawn,
                            *span,
                        )
                    )
                    for name, span in MEASURES.items()
                ),
            ]
            for test, against in pairs
        ]
        return table(["bits", *(f"at equal {name}" for name in MEASURES)], rows)

    def _points(self, classifiers: Sequence[Classifier]) -> str:
        once = np.ones((1, len(self.marked)))
        heads = [f"{name}, {c.name.split('_')[0]}" for c in classifiers for name in MEASURES]
        rows = []
        for sender in self.senders:
            curves = [
                scores[sender.name][name].curves(once)
                for scores in self.scores
                for name in MEASURES
            ]
            for i, setting in enumerate(sender.settings):
                shares = (f"{points[0, i]:.3f}" for _, points in curves)
                rows.append([f"{sender.name}, {setting:g}", f"{curves[0][0][0, i]:,.0f}", *shares])
        return table(["sender, quality", "bytes", *heads], rows)

    def draw(self, path: Path) -> None:
        """Both measures of the first classifier over mean bytes."""
        made, axes = plots.figure(2, 1, 5.2, 3.9)
        names = {FLAT: "ours", MAPPED: "guidance"}
        once = np.ones((1, len(self.marked)))
        labels = ("answers that stay the same, %", "probability of the original's answer, %")
        for axis, name, label in zip(axes, MEASURES, labels, strict=True):
            for sender in self.senders:
                sizes, points = self.scores[0][sender.name][name].curves(once)
                label_in_legend = f"CoTAM, {sender.name}" if sender.name in names else sender.name
                plots.line(
                    axis,
                    sizes[0],
                    100 * points[0],
                    names.get(sender.name, sender.name),
                    label_in_legend,
                )
            axis.set(xlabel="bytes of a picture", ylabel=label)
            plots.log_bytes(axis)
        axes[0].legend(frameon=False, fontsize=8, loc="best")
        made.suptitle(f"A classifier's answers, {len(self.marked)} pictures", fontsize=10)
        plots.save(made, path)
