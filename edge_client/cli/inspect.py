"""`edge_client inspect`: what is in a stream."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_client.cli import options
from edge_client.cli.console.output import Output
from shared.errors import UsageError
from shared.files import write_named
from shared.frames import MAGIC as CLIP_MAGIC

if TYPE_CHECKING:
    from edge_client.coding.inspection import Inspection
    from shared.bundle import Bundle


def inspect(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="A file, or - for stdin.")],
    picture: Annotated[
        Path | None,
        typer.Option("--map", metavar="PNG", help="Write the level map as a picture."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode the symbols, with the stream's bundle.")
    ] = False,
    bundle: options.BundleName = None,
    json: options.Json = False,
) -> None:
    """Show the header, chunks, overhead and level map of a stream, or the frames of a clip.

    [bold]Examples[/bold]

    edge_client inspect photo.cotam --map levels.png

    edge_client encode photo.jpg -o - | edge_client inspect - --json
    """
    data = _read(stream)
    if data.startswith(CLIP_MAGIC):
        if picture is not None:
            raise UsageError("--map is of pictures", hint="edge_client map CLIP shows what is sent")
        _inspect_clip(stream, data, verify, bundle, Output(json))
        return
    from edge_client.coding import inspection

    inspected = inspection.inspect(data)
    if picture is not None:
        from edge_client.guidance.overlay import png

        write_named(picture, png(inspected.picture()))
    verified = ""
    if verify:
        verified = inspection.verify(inspected, _candidates(bundle)).manifest.name
    talk = Output(json)
    if json:
        talk.record({"stream": stream, **inspected.as_dict()})
        return
    for line in _lines(inspected):
        talk.data(line)
    if verified:
        talk.data(f"verified   the symbols are those that were coded, by the bundle {verified}")


def _inspect_clip(name: str, data: bytes, verify: bool, bundle: str | None, talk: Output) -> None:
    from edge_client.coding.clip_inspection import inspect_clip, verify_clip

    inspected = inspect_clip(data)
    verified = verify_clip(inspected, _candidates(bundle)).manifest.name if verify else ""
    if talk.json:
        talk.record({"stream": name, **inspected.as_dict()})
        return
    for line in inspected.lines():
        talk.data(line)
    if verified:
        talk.data(f"verified   the symbols are those that were coded, by the bundle {verified}")


def _candidates(bundle: str | None) -> list[Bundle]:
    """Bundles that may verify a stream."""
    from edge_client.coding.bundles import AUTO, find_named, local_bundles

    name = options.resolve_options(bundle=bundle).settings.bundle
    return local_bundles() if name == AUTO else [find_named(name)]


def _lines(inspected: Inspection) -> list[str]:
    stream, level_map = inspected.stream, inspected.level_map
    lines = [
        f"picture    {stream.width}x{stream.height}",
        f"codec      {stream.codec_id.hex()}",
        f"quality    {stream.quality:g} of 9",
        f"check      {stream.check:04x}",
    ]
    lines += [f"chunk {kind:<4} {name}, {size} bytes" for kind, name, size in inspected.chunks()]
    for number, layer in enumerate(inspected.layers(), start=2):
        where = "the whole picture"
        if cells := layer["cells"]:
            where = f"{cells['chosen']} of {cells['of']} cells of {cells['pixels']} pixels"
        lines.append(
            f"layer {number:<4} quality {layer['quality']:g}, {where}, {layer['bytes']} bytes"
        )
    lines += [
        f"total      {inspected.size} bytes, {inspected.bpp:.4f} bpp",
        f"overhead   {inspected.overhead} bytes that are not entropy-coded payload",
    ]
    if level_map is None:
        lines.append("level map  none: one quality everywhere")
    else:
        rows, columns = level_map.values.shape
        codes = sorted(set(inspected.codes.ravel().tolist()))
        qualities = " or ".join(f"{code / 20:g}" for code in codes)
        lines.append(
            f"level map  {rows}x{columns} cells of {level_map.cell} pixels, quality {qualities}"
        )
        lines += [f"           {row}" for row in inspected.rows()]
    return lines


def _read(stream: str) -> bytes:
    from shared.bitstream import Limits

    most = Limits().stream_bytes + 1
    if stream == "-":
        return sys.stdin.buffer.read(most)
    try:
        with Path(stream).open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise UsageError(f"{stream} cannot be read: {error.strerror}") from error
