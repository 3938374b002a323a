"""`edge_client bench`: how quick this machine is."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_client.cli import options
from edge_client.cli.coding import pixels_named
from edge_client.cli.console.output import Output


def bench(
    picture: Annotated[
        str | None,
        typer.Argument(metavar="PICTURE", help="(default: a drawn one of 1024x1024)"),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=1000, help="Runs.")] = 5,
    quality: options.Quality = None,
    resolution: options.ResolutionText = "native",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="(default: all)")] = None,
    bundle: options.BundleName = None,
    json: options.Json = False,
) -> None:
    """Time each step of coding, beside Pillow's JPEG, WebP and AVIF in the same run.

    [bold]Example[/bold]

    edge_client bench photo.jpg --repeat 20
    """
    size = options.parse_resolution(resolution)
    settings = options.resolve_options(bundle=bundle).settings
    from edge_client.coding.benchmark import drawn, measure
    from edge_client.coding.picture_coder import PictureCoder
    from edge_client.pictures.images import fit

    coder = PictureCoder(bundle=settings.bundle, resolution=size, threads=threads)
    model = coder.bundle.manifest.resolution
    pixels = pixels_named(coder, picture) if picture else fit(drawn(), size, model)
    default = coder.bundle.manifest.quality
    report = measure(coder.encoder, pixels, default if quality is None else quality, repeat)
    talk = Output(json)
    if json:
        talk.record({"picture": picture, "threads": threads, **report})
        return
    talk.data(f"{report['width']}x{report['height']}, {report['bytes']} bytes; medians of {repeat}")
    for name, taken in report["steps_ms"].items():
        talk.data(f"  {name:<10} {taken:9.1f} ms")
    talk.data(f"  {'total':<10} {report['total_ms']:9.1f} ms, without load")
    for name, peer in report["peers"].items():
        talk.data(
            f"  {name:<10} {peer['ms']:9.1f} ms, {peer['times_ours']:.2f} of ours, "
            f"{peer['bytes']} bytes"
        )
