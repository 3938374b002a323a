"""`edge_client encode`: pictures to streams, without a server."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge_client.batch import ordered_map
from edge_client.cli import options
from edge_client.cli.coding import Places, describe, layers_named, record_of
from edge_client.cli.console import streams
from edge_client.cli.console.output import Output, error_record
from edge_client.pictures.inputs import expand, is_clip
from shared.bitstream import SUFFIX, Bitstream
from shared.errors import CotamError, UsageError, batch_exit_code
from shared.files import write_named
from shared.frames import SUFFIX as CLIP_SUFFIX
from shared.layers.enhancement import Enhancement

Target = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|DIR",
        help="- for standard output. (default: PICTURE.cotam beside each picture)",
    ),
]


def encode(
    picture: options.Pictures = None,
    output: Target = None,
    quality: options.Quality = None,
    budget: options.Budget = None,
    layers: options.Layers = None,
    cells: options.CellsText = None,
    resolution: options.ResolutionText = "model",
    no_guidance: options.NoGuidance = False,
    frames: options.Frames = None,
    on_change: options.OnChange = False,
    rate: options.Rate = None,
    key_every: options.KeyEvery = 60,
    bundle: options.BundleName = None,
    concurrency: options.Concurrency = 1,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Code pictures and write their streams. No server is needed.

    [bold]Examples[/bold]

    edge_client encode photo.jpg                      [dim]writes photo.cotam[/dim]

    edge_client encode photo.jpg --budget 1500B -o small.cotam

    edge_client encode photo.jpg --layers 0,2,4

    edge_client encode holiday/ -o streams/ --json

    edge_client encode - -o - < photo.jpg | wc -c

    edge_client encode gate.mp4 --frames 2fps --rate 2kB/s    [dim]writes gate.cotamf[/dim]
    """
    size = options.parse_resolution(resolution)
    most = options.parse_budget(budget, quality)
    qualities = options.parse_layers(layers, quality, budget)
    if cells is not None and not qualities:
        raise UsageError("--cells goes with --layers", hint="--layers 0,5")
    settings = options.resolve_options(bundle=bundle).settings
    clip = options.parse_clip(frames, on_change, key_every, rate, most, quality)
    folders = frames is not None or on_change
    pictures = expand(picture or [], clips=folders)
    if not pictures:
        raise UsageError("no picture is named", hint="edge_client encode photo.jpg")
    if output == "-" and len(pictures) > 1:
        raise UsageError(f"{len(pictures)} streams do not fit into one pipe", hint="-o DIR")
    from edge_client.coding.clip_coder import ClipCoder
    from edge_client.coding.coded_clip import CodedClip
    from edge_client.coding.picture_coder import PictureCoder

    coder = PictureCoder(
        bundle=settings.bundle,
        quality=qualities[0] if qualities else quality,
        budget=most,
        resolution=size,
        guidance=not no_guidance,
    )
    clips = ClipCoder(coder, clip)
    talk = Output(json and output != "-", quiet)
    places = Places(pictures, None if output in (None, "-") else Path(output or ""))
    naming = threading.Lock()

    def encode_named(
        name: str,
    ) -> tuple[str, Path | None, tuple[Bitstream | CodedClip, Sequence[Enhancement]] | CotamError]:
        try:
            moves = is_clip(name, folders)
            later: Sequence[Enhancement]
            stream: Bitstream | CodedClip
            if moves:
                stream, later = clips.encode(name), ()
            else:
                stream, later = layers_named(coder, name, qualities[1:], cells)
            coded = stream, later
            data = b"".join([stream.to_bytes(), *(layer.to_bytes() for layer in later)])
            if dry_run:
                return name, None, coded
            if output == "-":
                streams.write_bytes(data)
                return name, None, coded
            with naming:
                place = places.of(name, CLIP_SUFFIX if moves else SUFFIX)
            write_named(place, data)
            return name, place, coded
        except CotamError as error:
            return name, None, error

    errors = []
    with talk.progress(len(pictures)):
        for name, place, result in ordered_map(encode_named, pictures, concurrency):
            talk.advance()
            if isinstance(result, CotamError):
                errors.append(result)
                talk.complain(result, name)
                if talk.json:
                    talk.record({"picture": name, "error": error_record(result)})
            elif talk.json:
                stream_name = None if place is None else str(place)
                talk.record({"picture": name, "stream": stream_name, **record_of(*result)})
            else:
                written = "" if place is None else f", written to {place}"
                talk.say(f"{describe(name, *result)}{written}")
    if errors:
        raise typer.Exit(batch_exit_code(errors, len(pictures)))
