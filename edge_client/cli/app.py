"""The commands together, and how the process ends."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final, NoReturn

import typer

from edge_client.cli import streams
from edge_client.cli.bench import bench
from edge_client.cli.bundle import app as bundle
from edge_client.cli.config import config
from edge_client.cli.encode import encode
from edge_client.cli.inspect import inspect
from edge_client.cli.map import map_
from edge_client.cli.output import error_line
from edge_client.cli.send import send
from edge_client.cli.spool import app as spool
from shared.errors import CotamError, UsageError, exit_code

# Typer carries a click of its own since 0.26 and names it nowhere: the base of its usage errors.
_ClickException: Final[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="edge_client",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all well, 1 some failed, 2 usage, 3 bad picture, 4 server unreachable, "
    "5 key refused, 6 server overloaded.",
)
app.command()(send)
app.command()(encode)
app.command()(inspect)
app.command("map")(map_)
app.command()(bench)
app.command()(config)
app.add_typer(spool, name="spool")
app.add_typer(bundle, name="bundle")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"edge_client {version()}")
        raise typer.Exit


def version() -> str:
    """The version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("cotam")
    except PackageNotFoundError:
        return "(not installed)"


@app.callback()
def _options(
    context: typer.Context,
    asked: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Ask a multimodal model about pictures over a thin line.

    Pictures are coded for the model instead of the eye, by the importance of their parts: about
    1 kB for 256x256.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def run() -> None:
    """Run the command line; what goes wrong becomes one line and its exit code."""
    streams.prepare()
    try:
        # Not in its own mode, in which typer draws a box around a word that was misspelt.
        sys.exit(app(prog_name="edge_client", standalone_mode=False))
    except CotamError as error:
        _end(error_line(error), exit_code(error))
    except _ClickException as error:
        _end(error_line(_as_ours(error)), error.exit_code)
    except typer.Abort:
        _end("error: stopped", 1)
    except BrokenPipeError:  # who reads our output has enough
        streams.silence_output()
        sys.exit(1)
    except MemoryError:
        _end("error: there is not enough memory (lower --resolution or --concurrency)", 1)
    except OSError as error:
        if error.filename is None:  # files have names, so it was one of the standard streams
            streams.silence_output()
        named = f"{error.filename}: " if error.filename else "the output cannot be written: "
        _end(f"error: {named}{error.strerror}", 1)


def _end(line: str, code: int) -> NoReturn:
    streams.write_talk(line)
    sys.exit(code)


def _as_ours(error: Any) -> UsageError:
    """A usage error of typer's, with the command whose help tells more."""
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} -h" if context is not None else ""
    return UsageError(" ".join(error.format_message().split()).rstrip("."), hint=hint)
