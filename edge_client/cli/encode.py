"""`edge_client encode`: pictures to streams, without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_client.cli import options
from edge_client.cli.output import put_bytes, put_json, say

Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="- for standard output. [default: PICTURE.cotam]"
    ),
]


def encode(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or - for stdin.")],
    output: Output = None,
    quality: options.Quality = None,
    budget: options.Budget = None,
    resolution: options.ResolutionText = "model",
    no_guidance: options.NoGuidance = False,
    bundle: options.BundleName = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Code a picture and write its stream.

    [bold]Examples[/bold]

    edge_client encode photo.jpg                  [dim]writes photo.cotam[/dim]

    edge_client encode photo.jpg -q 5 -o - | wc -c
    """
    size = options.parse_resolution(resolution)
    resolved = options.resolve_options(bundle=bundle)
    from edge_client.client import Core
    from edge_client.inspection import inspect

    core = Core(
        bundle=resolved.settings.bundle,
        quality=quality,
        budget=options.parse_budget(budget, quality),
        resolution=size,
        guidance=not no_guidance,
    )
    stdin = picture == "-"
    stream = core.encode(
        sys.stdin.buffer if stdin else picture, name="standard input" if stdin else ""
    )
    data = stream.to_bytes()
    if output == "-":
        put_bytes(data)
    else:
        name = "stdin.cotam" if stdin else str(Path(picture).with_suffix(".cotam"))
        output = output or name
        options.write_beside(Path(output), data)
    found = inspect(data)
    if json and output != "-":
        put_json({"picture": picture, "stream": output, **found.as_dict()})
    elif not quiet:
        say(
            f"{picture}: {stream.width}x{stream.height} at quality {stream.quality:g} in "
            f"{len(data)} bytes, {found.bpp:.3f} bpp"
        )
