"""`edge_client map`: what in a picture is held to be important."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_client.cli import options
from edge_client.cli.console.output import Output
from edge_client.pictures.inputs import STDIN, is_clip
from shared.errors import UsageError
from shared.files import write_named

if TYPE_CHECKING:
    from edge_client.coding.clip_coder import ClipOptions
    from edge_client.pictures.images import Resolution


def map_(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or - for stdin.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PNG", help="(default: PICTURE.map.png)"),
    ] = None,
    levels: Annotated[
        bool, typer.Option("--levels", help="The levels that are coded, not the map behind them.")
    ] = False,
    focus: Annotated[
        str,
        typer.Option("--focus", metavar="QUESTION", help="As it is sent with this question."),
    ] = "",
    frames: options.Frames = None,
    resolution: options.ResolutionText = "model",
    bundle: options.BundleName = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw the importance map over a picture, which keeps its own colours where nothing is marked.

    Of a clip: its frames side by side, grey where nothing is sent.

    [bold]Examples[/bold]

    edge_client map photo.jpg -o map.png

    edge_client map photo.jpg --levels --resolution native

    edge_client map photo.jpg --levels --focus "how many red cars?"
    """
    size = options.parse_resolution(resolution)
    settings = options.resolve_options(bundle=bundle).settings
    if is_clip(picture, frames is not None):
        if focus:
            raise UsageError("--focus is for pictures: what is sent of a clip is what changed")
        clip = options.parse_clip(frames, False, 60, None, None, None)
        _map_clip(picture, output, size, settings.bundle, clip, Output(json, quiet))
        return
    from edge_client.coding.picture_coder import PictureCoder
    from edge_client.guidance import overlay
    from edge_client.pictures.images import MAX_FILE_BYTES, load

    coder = PictureCoder(bundle=settings.bundle, resolution=size, focus=bool(focus))
    # Looked at twice: as it is coded, and as it is shown.
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if picture == STDIN else b""
    source, name = (data, "standard input") if picture == STDIN else (picture, picture)
    pixels = coder.pixels(source, name=name)
    importance, level_map = coder.encoder.guide(pixels, focus)
    stream = coder.encode(pixels, question=focus)
    total = len(stream.to_bytes())
    counts = [int((level_map.values == level).sum()) for level in range(level_map.levels)]
    if levels:
        sides = overlay.sides_of_levels(level_map)
        legend = overlay.legend_of_levels(level_map, stream.quality_code)
    else:
        sides = overlay.sides_of_importance(importance)
        legend = overlay.LEGEND_OF_IMPORTANCE
    of_map = (
        f", {len(stream.level_map)} of them the map" if stream.level_map else ", without the map"
    )
    sizes = f"{total} bytes at quality {stream.quality:g}{of_map}"
    place = output or Path("stdin" if picture == STDIN else picture).with_suffix(".map.png")
    shown = load(source, name, overlay.LONGEST)
    drawn = overlay.drawn(
        shown, sides, level_map.cell / max(pixels.shape), [*legend, (None, sizes)]
    )
    write_named(place, drawn)
    talk = Output(json, quiet)
    if json:
        record = {"picture": picture, "map": str(place), "cell": level_map.cell, "counts": counts}
        talk.record({**record, "bytes": total, "importance": importance.round(6).tolist()})
    else:
        rows, columns = importance.shape
        talk.say(
            f"{picture}: {rows}x{columns} cells of {level_map.cell} pixels; from fewer to more "
            f"bits: {counts}; {sizes}; written to {place}"
        )


def _map_clip(
    source: str,
    output: Path | None,
    resolution: Resolution,
    bundle: str,
    clip: ClipOptions,
    talk: Output,
) -> None:
    from edge_client.coding.clip_coder import ClipCoder
    from edge_client.coding.clip_sheet import Sheet
    from edge_client.coding.picture_coder import PictureCoder

    sheet = Sheet()
    coded = ClipCoder(PictureCoder(bundle, resolution=resolution), clip, sheet).encode(source)
    place = output or Path(source).with_suffix(".map.png")
    write_named(place, sheet.png())
    if talk.json:
        talk.record({"picture": source, "map": str(place), **coded.as_dict()})
    else:
        talk.say(f"{source}: {coded.describe()}; what is sent when is drawn in {place}")
