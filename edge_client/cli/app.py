"""The commands together, and how the process ends."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer

from edge_client.cli.bench import bench
from edge_client.cli.bundle import app as bundle
from edge_client.cli.config import config
from edge_client.cli.encode import encode
from edge_client.cli.inspect import inspect
from edge_client.cli.map import map_
from edge_client.cli.proxy import proxy
from edge_client.cli.send import send
from edge_client.cli.spool import app as spool
from edge_client.cli.version import version_line
from shared.errors import CotamError, UsageError

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
app.command()(proxy)
app.command()(config)
app.add_typer(spool, name="spool")
app.add_typer(bundle, name="bundle")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(version_line())
        raise typer.Exit


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
    """Run the command line and end the process. Raises CotamError, OSError."""
    try:
        # Not in its own mode, in which typer draws a box around a word that was misspelt.
        sys.exit(app(prog_name="edge_client", standalone_mode=False))
    except _ClickException as error:
        raise _as_ours(error) from error
    except typer.Abort as error:
        raise CotamError("stopped") from error


def _as_ours(error: Any) -> UsageError:
    """A usage error of typer's, with the command whose help tells more."""
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} -h" if context is not None else ""
    return UsageError(" ".join(error.format_message().split()).rstrip("."), hint=hint)
