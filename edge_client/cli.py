"""The command line. Data goes to stdout, talk to stderr; a failure is a non-zero exit.

Modules with weight (numpy, onnxruntime, httpx, Pillow) are imported by the commands that use them,
so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_client import __version__
from shared.errors import CotamError, UsageError, exit_code

if TYPE_CHECKING:
    from edge_client.client import EdgeClient

app = typer.Typer(
    name="edge_client",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Code pictures for multimodal models and ask questions about them.\n\n"
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 bad picture, 4 server unreachable, 5 key refused, "
    "6 overloaded.",
)

PictureArgument = Annotated[str, typer.Argument(help="picture file, - for standard input")]
ServerOption = Annotated[
    str | None, typer.Option("--server", help="base URL [env COTAM_SERVER_URL]", show_default=False)
]
KeyOption = Annotated[
    str | None, typer.Option("--key", help="API key [env COTAM_API_KEY]", show_default=False)
]
BundleOption = Annotated[str, typer.Option("--bundle", help="embedded bundle, or its folder")]
QualityOption = Annotated[
    float | None,
    typer.Option("--quality", "-q", help="0 (smallest) to 9; default: the bundle's"),
]
BudgetOption = Annotated[
    str | None,
    typer.Option("--budget", help="most bytes of a stream, as 1500, 1500B or 2kB", show_default=False),
]
ResolutionOption = Annotated[
    str,
    typer.Option(
        "--resolution",
        help="longest side in pixels: a number, 'model' (what the model can use) or 'native'; "
        "the aspect is kept and nothing is scaled up",
    ),
]
GuidanceOption = Annotated[
    bool, typer.Option("--guidance/--no-guidance", help="spend bits by importance")
]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edge_client {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def send(
    picture: PictureArgument,
    prompt: Annotated[str, typer.Argument(help="the question")],
    server: ServerOption = None,
    key: KeyOption = None,
    bundle: BundleOption = "tiny",
    quality: QualityOption = None,
    budget: BudgetOption = None,
    resolution: ResolutionOption = "model",
    guidance: GuidanceOption = True,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, show_default=False)] = None,
    save_bitstream: Annotated[
        Path | None, typer.Option(help="keep the stream in this file", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Code a picture, send it with a question, print the answer.

    edge_client send photo.jpg "how many cars?"
    """
    with _errors():
        from edge_client.client import check_prompt

        check_prompt(prompt)
        with _client(server, key, bundle, quality, budget, resolution, guidance) as client:
            stream = client.encode(_source(picture)).to_bytes()
            if save_bitstream is not None:
                _write(save_bitstream, stream)
            answer = client.send(stream, prompt, max_new_tokens=max_new_tokens)
        if as_json:
            print(answer.model_dump_json())
            return
        print(answer.answer)
        image = answer.image
        _say(
            f"{image.bytes} bytes, {image.bpp:.3f} bpp, {image.width}x{image.height}; "
            f"{answer.model} saw the {answer.view}; {answer.timings_ms.total:.0f} ms on the server"
        )


@app.command()
def encode(
    picture: PictureArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="default: beside it, as .cotam")
    ] = None,
    bundle: BundleOption = "tiny",
    quality: QualityOption = None,
    budget: BudgetOption = None,
    resolution: ResolutionOption = "model",
    guidance: GuidanceOption = True,
    as_json: JsonOption = False,
) -> None:
    """Code a picture into a .cotam file.

    edge_client encode photo.jpg --budget 1000B
    """
    with _errors():
        from edge_client.report import describe
        from shared.bitstream import SUFFIX

        if output is None and picture == "-":
            raise UsageError("a picture from standard input needs --output")
        target = output or Path(picture).with_suffix(SUFFIX)
        with _client(None, None, bundle, quality, budget, resolution, guidance) as client:
            stream = client.encode(_source(picture)).to_bytes()
        _write(target, stream)
        facts = describe(stream)
        if as_json:
            print(json.dumps({"file": str(target), **facts}))
        else:
            print(target)
            _say(
                f"{facts['bytes']} bytes, {facts['bpp']:.3f} bpp, "
                f"{facts['width']}x{facts['height']}, quality {facts['quality']:g}"
            )


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(help=".cotam file, - for standard input")],
    level_map: Annotated[
        Path | None, typer.Option("--map", help="write the level map as a PNG", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the header, the chunk sizes and the level map of a stream.

    edge_client inspect photo.cotam
    """
    with _errors():
        from edge_client.report import as_text, describe, level_map_png
        from shared.bitstream import Bitstream

        data = _read_stream(file)
        facts = describe(data)
        if level_map is not None:
            _write(level_map, level_map_png(Bitstream.from_bytes(data)))
        print(json.dumps(facts) if as_json else as_text(facts))


def parse_bytes(text: str) -> int:
    """Bytes of "1500", "1500B", "1.5kB" or "2KiB". Raises UsageError."""
    units = {"": 1, "b": 1, "k": 1000, "kb": 1000, "kib": 1024, "mb": 1_000_000, "mib": 1 << 20}
    number = text.strip().rstrip("BbKkMmIi")
    unit = text.strip()[len(number) :].lower()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise UsageError(
            f"the budget {text!r} is not a number of bytes", hint="for example 1500B or 2kB"
        ) from None


def _client(
    server: str | None,
    key: str | None,
    bundle: str,
    quality: float | None,
    budget: str | None,
    resolution: str,
    guidance: bool,
) -> EdgeClient:
    from edge_client.client import EdgeClient

    if budget is not None and quality is not None:
        raise UsageError("--quality and --budget exclude each other")
    return EdgeClient(
        server,
        key=key,
        bundle=bundle,
        quality=quality,
        target_bytes=None if budget is None else parse_bytes(budget),
        resolution=_resolution(resolution),
        guidance=guidance,
    )


def _resolution(text: str) -> Any:
    if text in ("model", "native"):
        return text
    if not text.isdigit() or int(text) < 1:
        raise UsageError(
            f"the resolution {text!r} is not known", hint="a number of pixels, model or native"
        )
    return int(text)


def _source(name: str) -> str | bytes:
    return sys.stdin.buffer.read() if name == "-" else name


def _read_stream(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    from shared.files import write_atomic

    try:
        write_atomic(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr)


@contextmanager
def _errors() -> Iterator[None]:
    """One clear line and the exit code of the table for whatever is refused or fails."""
    try:
        yield
    except CotamError as error:
        request = f" [request {error.request_id}]" if error.request_id else ""
        _say(f"edge_client: {error}{request}")
        raise typer.Exit(exit_code(error)) from None


def main() -> None:
    """Run the command line."""
    app()
