"""The first lines of the results: taken from the sections that commands wrote, never typed.

Each line names what was compared, the number with its interval, and its limit. A change whose
interval holds zero is called not significant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import UsageError

SECTION: Final = re.compile(r"<!-- ([\w-]+):begin -->\n(.*?)<!-- \1:end -->", re.S)
CHANGE: Final = re.compile(r"([+-][\d.]+ %)(?: \(([+-]?[\d.]+) to ([+-]?[\d.]+)\))?")
HEAD: Final = ("what", "result", "limits")


@dataclass(frozen=True)
class Results:
    """The sections of all pages of results, by their names."""

    sections: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Those of a folder of pages."""
        pages = [page.read_text(encoding="utf-8") for page in sorted(folder.glob("*.md"))]
        return cls({name: text for page in pages for name, text in SECTION.findall(page)})

    def cell(self, section: str, row: str, column: str, after: str = "") -> str:
        """A cell by the first cell of its row and the head of its column.

        after: words before the table, where a section has several. Raises UsageError where there
        is no such cell.
        """
        text = self._section(section)
        for head, rows in _tables(text[text.index(after) :] if after in text else ""):
            for cells in rows:
                if cells[0].strip("*") == row and column in head:
                    return cells[head.index(column)]
        raise UsageError(f"the section {section} has no cell of {row!r} and {column!r}")

    def words(self, section: str, pattern: str) -> str:
        """What a section says: the first group of a pattern. Raises UsageError."""
        match = re.search(pattern, self._section(section))
        if match is None:
            raise UsageError(f"the section {section} does not say {pattern}")
        return match[1]

    def _section(self, name: str) -> str:
        if name not in self.sections:
            raise UsageError(f"there is no section {name}", hint="its command has to run first")
        return self.sections[name]


def _tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Heads and rows of the tables of a text."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        head, _, *rows = cells
        yield head, rows


def change(cell: str) -> str:
    """A change of bits as it stands, and whether that is nothing."""
    match = CHANGE.fullmatch(cell)
    if match is None or match[2] is None:
        return cell
    sure = float(match[2]) * float(match[3]) > 0
    return cell if sure else f"{cell}, not significant"


def dearer(cells: dict[str, str]) -> str:
    """Which of the others surely need fewer bits than ours, if any."""
    better = [name for name, cell in cells.items() if cell.startswith("+") and "not" not in cell]
    verb = "need" if len(better) > 1 else "needs"
    return f"{' and '.join(better)} {verb} fewer; " if better else ""


def lines(results: Results) -> list[tuple[str, str, str]]:
    """What was compared, the result, its limits. Raises UsageError where a section lacks one."""
    cell = results.cell

    def scenes(against: str) -> str:
        return change(
            cell("rate_accuracy", "overall", f"against {against}", "**+ guidance + adapter**")
        )

    def kodak(format_name: str, measure: str) -> str:
        row = results.words("codec", rf"\| ({format_name} \([^|]*\)) \|")
        return f"{format_name} {cell('codec', row, f'BD-rate, {measure}')}"

    def printed(row: str) -> str:
        level = "at 0.8 to 0.9 of the characters"
        return change(cell("reading_pages_384", row, level))

    def classified(against: str, after: str = "", score: str = "agreement") -> str:
        row = f"mapped against {against}"
        return change(cell("classifying", row, f"at equal {score}", after))

    def asked(column: str) -> str:
        return change(cell("ask-back", "0.95", column))

    def clips(against: str) -> str:
        return change(cell("video", against, "at equal accuracy"))

    def bench(column: str) -> str:
        return cell("bench", "ours", column, "**1 megapixels**")

    sure = classified("AVIF", after=" alone:", score="probability")
    other = classified("AVIF", after="`efficientnet_lite0_224.onnx` (SHA")
    pages = {name: printed(f"mapped against {name}") for name in ("AVIF", "WebP")}
    failures = results.words("fuzz", r"\*\*(\d+) failures\*\*")
    streams = results.words("fuzz", r"([\d,]+) damaged streams")
    count = results.words("video", r"(\d+) clips of")
    rate = results.words("scenes", r"\| \+ guidance \+ adapter \| 3 \| (\d+) \|")
    return [
        (
            f"Scenes: right answers, through {rate} bytes a picture",
            f"{cell('scenes', 'overall', '+ guidance + adapter, quality 3')} of 100",
            f"uncompressed {cell('scenes', 'overall', 'uncompressed')}; without the picture "
            f"{cell('scenes', 'overall', 'blind')}",
        ),
        (
            "Scenes: bits for as many right answers",
            f"against AVIF {scenes('AVIF')}; WebP {scenes('WebP')}; JPEG {scenes('JPEG')}",
            "drawn scenes and a small model that knows nothing else; the codec learnt from others "
            "of these scenes, the formats did not",
        ),
        (
            "the same against our codec without guidance and adapter",
            scenes("base codec"),
            f"of it guidance, beside the adapter: {scenes('+ adapter')}",
        ),
        (
            "photographs (Kodak): bits at equal PSNR",
            "against " + "; ".join(kodak(name, "RGB PSNR") for name in ("AVIF", "WebP", "JPEG")),
            f"at equal MS-SSIM: {kodak('AVIF', 'MS-SSIM')}",
        ),
        (
            "photographs: bits for as many unchanged answers of a classifier",
            "against "
            + "; ".join(f"{name} {classified(name)}" for name in ("AVIF", "WebP", "JPEG")),
            f"where it is sure, at equal probability: AVIF {sure}; by another classifier: AVIF "
            f"{other}",
        ),
        (
            "pages of print: bits for as many characters read again",
            "against " + "; ".join(f"{name} {bits}" for name, bits in pages.items()),
            f"{dearer(pages)}17 pages",
        ),
        (
            "Scenes: bytes an answer where the model asks back, against one stream",
            asked("as they travel"),
            f"without what lies around the streams: {asked('change')}",
        ),
        (
            "clips of scenes: bits for as many right answers",
            "against " + "; ".join(f"{name} {clips(name)}" for name in ("H.264", "HEVC", "AV1")),
            f"{count} clips; at equal PSNR: H.264 {cell('video', 'H.264', 'at equal PSNR')}",
        ),
        (
            "encoding a megapixel, two cores",
            f"{bench('encode, ms')} ms, {bench('encode / AVIF speed 6')} of AVIF's time",
            "read the ratio: milliseconds depend on the machine",
        ),
        (
            "decoding a megapixel, two cores",
            f"{bench('decode, ms')} ms, {bench('decode / AVIF speed 6')} times AVIF's time",
            "no learned codec of this list decodes as quickly as the formats do",
        ),
        (
            "a question's bytes beside its stream and words",
            f"{cell('wire', 'the edge', 'all else')}",
            f"an ordinary HTTP client: {cell('wire', 'multipart, httpx', 'all else')}",
        ),
        (
            "damaged streams that crash, hang or take memory",
            f"{failures} of {streams}",
            "damage made by a program, not by an adversary with time",
        ),
        (
            "models of others",
            "one command makes guidance and adapter for a LLaVA, InternVL or Qwen-VL",
            "random weights of the true shapes alone were tried; no gain in answers was measured",
        ),
    ]


def text(results: Results) -> str:
    """The table of all lines."""
    rows = [HEAD, ("---",) * len(HEAD), *lines(results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
