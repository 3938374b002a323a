"""Print to look at, at equal bytes: a page, a chart, a screen, and a photograph beside them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image

from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pillow_formats import AVIF, WEBP
from evaluation.commands.pictures.sheet import OURS, best_fit, photograph
from evaluation.report import plots
from evaluation.report.document import command_line, write_section
from scenes import Backgrounds
from scenes.pages import KINDS, Fonts, render_page
from shared.bundle import open_bundle
from shared.errors import UsageError

SIDE: Final = 320
SHOWN: Final = ("receipt", "bar chart", "program")
ROWS: Final = (
    (OURS, True, "CoTAM"),
    (AVIF.name, False, AVIF.name),
    (WEBP.name, False, WEBP.name),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--budget", type=int, default=3500, help="bytes of a picture")


def main(arguments: argparse.Namespace) -> None:
    """Draw the sheet and write its section."""
    cotam = CotamCodec(open_bundle(arguments.bundle))
    pictures = dict(_pictures())
    made, axes = plots.figure(len(pictures), 1 + len(ROWS), 3.3, 3.45)
    grid = np.array(axes, object).reshape(1 + len(ROWS), -1)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    for column, (label, picture) in enumerate(pictures.items()):
        grid[0, column].imshow(picture)
        grid[0, column].set_title(f"{label}, original", fontsize=9)
        for row, (name, guidance, title) in enumerate(ROWS, start=1):
            size, decoded = best_fit(cotam, name, picture, arguments.budget, guidance)
            shown = f"{size:,} bytes" if decoded is not None else f"not under {size:,} bytes"
            grid[row, column].set_title(f"{title}, {shown}", fontsize=9)
            if decoded is not None:
                grid[row, column].imshow(decoded)
    plots.save(made, arguments.report.parent / "img" / "page_sheet.png")
    body = [
        command_line(arguments.words),
        f"Pages of the test split at {SIDE}x{SIDE} and a photograph of scikit-image's, each in the "
        f"best file within {arguments.budget} bytes, CoTAM as the edge sends by default. "
        f"Bundle {cotam.bundle.hex_id}; {AVIF.describe()}; "
        f"{WEBP.describe()}. Nothing is random.",
        "![Print at equal bytes](img/page_sheet.png)",
    ]
    write_section(arguments.report, "page_sheet", "\n\n".join(body))


def _pictures() -> Iterator[tuple[str, Picture]]:
    try:
        fonts = Fonts.pinned()
    except ValueError as error:
        raise UsageError(str(error)) from error
    for kind in SHOWN:
        index = list(KINDS).index(kind)
        page = render_page("test", index, fonts, Backgrounds.builtin(), (SIDE, SIDE))
        yield kind, page.picture
    image = Image.fromarray(photograph()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    yield "photograph", np.asarray(image)
