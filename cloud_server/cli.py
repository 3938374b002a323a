"""The command line: `serve` (flags over environment over defaults), `decode`, `key`, `api`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated

import typer

from cloud_server.guard.keys import entry_of, new_key
from cloud_server.observe.logs import configure
from cloud_server.settings import PREFIX, Settings, default_of, load_settings
from shared.errors import CotamError, batch_exit_code, exit_code

_FLAGS = ("host", "port", "bundle", "mllm", "device", "threads", "log_level")


def _others() -> str:
    """The settings that have no flag, for the end of `serve --help`."""
    lines = [
        f"{PREFIX}{name.upper()}: {field.description}"
        + (f" (default {shown})" if (shown := default_of(name)) else "")
        for name, field in Settings.model_fields.items()
        if name not in _FLAGS
    ]
    return "\n\n".join(["Set in the environment:", *lines])


cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # a misspelt flag is three plain lines, not a box
    pretty_exceptions_enable=False,
    help="The cloud side of CoTAM.",
)


@contextmanager
def _one_line() -> Iterator[None]:
    """End the process with one line for an error of ours, and its exit code."""
    try:
        yield
    except CotamError as error:
        typer.echo(f"cloud_server: {error}", err=True)
        raise typer.Exit(exit_code(error)) from None


def _version(asked: bool) -> None:
    if not asked:
        return
    try:
        typer.echo(f"cloud_server {installed('cotam')}")
    except PackageNotFoundError:
        typer.echo("cloud_server (not installed)")
    raise typer.Exit


@cli.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """The cloud side of CoTAM: answers questions about pictures that come as bitstreams."""


@cli.command(epilog=_others())
def serve(
    mllm: Annotated[
        str | None,
        typer.Option(help="folder, hub id or http(s)://.../v1; default: the bundle's own"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port; 0 picks a free one")] = None,
    bundle: Annotated[
        str | None,
        typer.Option(help="bundles: embedded names, folders, URLs or hf:ORG/NAME"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of torch")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
) -> None:
    """Serve until SIGTERM. Flags win over the environment (COTAM_HOST, COTAM_PORT, ...)."""
    flags = {
        "mllm": mllm,
        "host": host,
        "port": port,
        "bundle": bundle,
        "device": device,
        "threads": threads,
        "log_level": log_level,
    }
    with _one_line():
        settings = load_settings(**flags)
        configure(settings)
        # torch-free, but the web framework takes a while: `--help` shall not wait for it.
        from cloud_server.server import run

        run(settings)


@cli.command()
def decode(
    stream: Annotated[
        list[str], typer.Argument(metavar="STREAM...", help="files, folders, - for standard input")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help=".png, .jpg, .webp; - for standard output; default: STREAM.decoded.png",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="write over pictures that are there")
    ] = False,
    bundle: Annotated[
        str,
        typer.Option(help="bundles, as for serve, with commas; default: all embedded"),
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="say nothing but errors")] = False,
) -> None:
    """Make pictures of streams, of clips a folder of frames or one .mp4. No server is needed."""
    from cloud_server.decode_clips import decode_clip_file, is_clip
    from cloud_server.decode_files import Places, decode_files, expand
    from cloud_server.decoding import decode as decode_stream
    from cloud_server.decoding import decode_clip

    bundles = [part.strip() for part in bundle.split(",") if part.strip()]
    errors = []
    with _one_line():
        streams = expand(stream)
        say: Callable[[str], None] = (lambda line: None) if quiet else partial(typer.echo, err=True)
        clips = [name for name in streams if is_clip(name)]
        alone = len(streams) == 1
        of_clips = partial(decode_clip, bundles=bundles)
        for name in clips:
            streams.remove(name)
            try:
                decode_clip_file(name, output, alone, force, of_clips, say)
            except CotamError as failure:
                errors.append(failure)
                typer.echo(f"cloud_server: {failure}", err=True)
        places = Places(streams, output, force) if streams else None
        of_bundles = partial(decode_stream, bundles=bundles)
        for name, error in decode_files(streams, places, of_bundles, say) if places else ():
            errors.append(error)
            about = "" if name in str(error) else f"{name}: "
            typer.echo(f"cloud_server: {about}{error}", err=True)
    if errors:
        raise typer.Exit(batch_exit_code(errors, len(streams) + len(clips)))


@cli.command()
def key(name: Annotated[str, typer.Argument(help="who gets the key")]) -> None:
    """Make an API key: the key on stdout, its entry for COTAM_API_KEYS on stderr."""
    made = new_key()
    with _one_line():
        entry = entry_of(name, made)
    typer.echo(made)
    typer.echo(entry, err=True)


@cli.command()
def api() -> None:
    """Print the page of the HTTP interface (docs/api.md)."""
    from cloud_server.app import create_app
    from cloud_server.routes.openapi import document, page

    with _one_line():
        typer.echo(page(document(create_app())), nl=False)


def main() -> None:
    """Entry of the console script."""
    cli()
