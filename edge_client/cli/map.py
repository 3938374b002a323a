"""`edge_client map`: what in a picture is held to be important."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_client.cli import options
from edge_client.cli.coding import pixels_named
from edge_client.cli.output import Output
from shared.files import write_named


def map_(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or - for stdin.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PNG", help="(default: PICTURE.map.png)"),
    ] = None,
    levels: Annotated[
        bool, typer.Option("--levels", help="The levels that are coded, not the map behind them.")
    ] = False,
    resolution: options.ResolutionText = "model",
    bundle: options.BundleName = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw the importance map over a picture: blue gets fewer bits, red more.

    [bold]Examples[/bold]

    edge_client map photo.jpg -o map.png

    edge_client map photo.jpg --levels --resolution native
    """
    size = options.parse_resolution(resolution)
    settings = options.resolve_options(bundle=bundle).settings
    from edge_client.coding import overlay
    from edge_client.coding.picture_coder import PictureCoder

    coder = PictureCoder(bundle=settings.bundle, resolution=size)
    pixels = pixels_named(coder, picture)
    importance, level_map = coder.encoder.guide(pixels)
    if levels:
        drawn = overlay.levels(pixels, level_map)
    else:
        drawn = overlay.heat(pixels, importance, level_map.cell)
    place = output or Path("stdin" if picture == "-" else picture).with_suffix(".map.png")
    write_named(place, overlay.png(drawn))
    counts = [int((level_map.values == level).sum()) for level in range(level_map.levels)]
    talk = Output(json, quiet)
    if json:
        found = {"picture": picture, "map": str(place), "cell": level_map.cell, "counts": counts}
        talk.record({**found, "importance": importance.round(6).tolist()})
    else:
        rows, columns = importance.shape
        talk.say(
            f"{picture}: {rows}x{columns} cells of {level_map.cell} pixels; from fewer to more "
            f"bits: {counts}; drawn in {place}"
        )
