"""A sheet to look at: what is important, where the bits go, and what is left of a picture."""

from __future__ import annotations

import argparse
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_client.guidance import overlay
from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pictures import picture_set
from evaluation.codecs.pillow_formats import FORMATS, best_within, decode
from evaluation.report import plots
from evaluation.report.document import command_line, write_section
from scenes import Backgrounds, render
from shared.bundle import open_bundle
from shared.errors import UsageError

SIDE: Final = 256
BUDGETS: Final = (500, 1000, 2000)
PHOTOGRAPH: Final = "chelsea.png"
OURS: Final = "CoTAM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--index", type=int, default=7, help="of the scene, in the test split")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="bytes")


def main(arguments: argparse.Namespace) -> None:
    """Draw the sheet and write its section."""
    cotam = CotamCodec(open_bundle(arguments.bundle))
    scene = render("test", arguments.index, Backgrounds.builtin(), (SIDE, SIDE)).picture
    pictures = [scene, photograph()]
    columns = max(3, len(arguments.budgets))
    made, axes = plots.figure(columns * len(pictures), 2 + len(FORMATS), 2.3, 2.45)
    grid = np.array(axes, object).reshape(2 + len(FORMATS), -1)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    for number, picture in enumerate(pictures):
        part = grid[:, number * columns : (number + 1) * columns]
        _draw_guidance(part[0], cotam, picture)
        for column, budget in enumerate(arguments.budgets):
            for row, name in enumerate((OURS, *(form.name for form in FORMATS)), start=1):
                file, decoded = best_fit(cotam, name, picture, budget)
                _draw_decoded(part[row, column], name, file, decoded, budget)
    plots.save(made, arguments.report.parent / "img" / "sheet.png")
    write_section(arguments.report, "sheet", _text(arguments, cotam))


def photograph() -> Picture:
    """A photograph of scikit-image's, its middle square at 256x256."""
    every = picture_set(None)
    names = [file.name for file in every.files]
    whole = every.load(names.index(PHOTOGRAPH))
    height, width = whole.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(whole[top : top + side, left : left + side])
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def best_fit(
    cotam: CotamCodec, name: str, picture: Picture, budget: int, guidance: bool = True
) -> tuple[int, NDArray[Any] | None]:
    """Bytes and decoded picture of the best file within a budget.

    Where the format cannot be that small: the bytes of its smallest file, and None.
    """
    if name == OURS:
        analysed = cotam.analyse(picture, guidance)
        try:
            stream = analysed.code_within(budget).to_bytes()
        except UsageError:
            return len(cotam.encode(analysed, 0.0)), None
        return len(stream), cotam.decode(stream).picture
    form = next(form for form in FORMATS if form.name == name)
    file = best_within(form, picture, budget)
    return len(file), decode(file) if len(file) <= budget else None


def _draw_guidance(axes: NDArray[Any], cotam: CotamCodec, picture: Picture) -> None:
    importance, level_map = cotam.encoder.guide(picture)
    axes[0].imshow(picture)
    axes[0].set_title("original", fontsize=9)
    cell = level_map.cell
    axes[1].imshow(overlay.tinted(picture, overlay.sides_of_importance(importance), cell))
    axes[1].set_title("importance", fontsize=9)
    axes[2].imshow(overlay.tinted(picture, overlay.sides_of_levels(level_map), cell))
    axes[2].set_title("more bits where marked", fontsize=9)


def _draw_decoded(
    axis: Any, name: str, size: int, decoded: NDArray[Any] | None, budget: int
) -> None:
    if decoded is None:
        axis.set(xlim=(0, 1), ylim=(0, 1), facecolor="#f2f2f2")
        axis.set_box_aspect(1)
        axis.text(
            0.5,
            0.5,
            f"not within {budget} bytes:\nits smallest file has {size}",
            ha="center",
            va="center",
            fontsize=8,
            color="#777777",
        )
    else:
        axis.imshow(decoded)
    shown = f"{name}, {size} bytes" if decoded is not None else name
    axis.set_title(shown, fontsize=9, color=plots.COLOURS.get(name, plots.COLOURS["ours"]))


def _text(arguments: argparse.Namespace, cotam: CotamCodec) -> str:
    budgets = ", ".join(map(str, arguments.budgets))
    formats = "; ".join(form.describe() for form in FORMATS)
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Scene {arguments.index} of the test split and a photograph of scikit-image's "
            f"(`{PHOTOGRAPH}`), {SIDE}x{SIDE}, each in the best file within {budgets} bytes. Ours: "
            f"bundle {cotam.bundle.hex_id}, with guidance. {formats}. Nothing is random.",
            "![Pictures at equal bytes](img/sheet.png)",
        ]
    )
