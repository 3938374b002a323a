"""`edge_client config`: where settings come from, and the file that keeps them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from edge_client.cli import options
from edge_client.cli.console.output import Output
from edge_client.settings import ENVIRONMENT, SECRET, config_path, store
from shared.errors import UsageError


def config(
    key: Annotated[str | None, typer.Argument(help=", ".join(ENVIRONMENT))] = None,
    value: Annotated[str | None, typer.Argument(help="Its new value.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Remove KEY from the file.")] = False,
    json: options.Json = False,
) -> None:
    """Show the settings and where each comes from, or keep one in the config file.

    A flag wins over the environment (COTAM_SERVER_URL, COTAM_API_KEY, COTAM_EDGE_BUNDLE,
    COTAM_ASK_BACK, COTAM_FOCUS), that over the config file, that over the default. Keys are not
    shown.

    [bold]Examples[/bold]

    edge_client config

    edge_client config server https://cotam.example.org

    edge_client config api_key --unset
    """
    talk = Output(json)
    path = config_path(os.environ)
    if key is not None:
        if unset == (value is not None):
            raise UsageError("give a value, or --unset", hint=f"edge_client config {key} VALUE")
        if key == "bundle" and value is not None:
            from edge_client.coding.bundles import find_named

            find_named(value)  # or every command would find out that it is none
        was_there = store(path, key, value)
        outcome = "kept in" if not unset else "removed from" if was_there else "was not in"
        talk.say(f"{key} {outcome} {path}")
        return
    resolved = options.resolve_options()
    for name, text in asdict(resolved.settings).items():
        shown = "********" if name in SECRET and text else text
        if json:
            talk.record({"key": name, "value": shown, "from": resolved.origin[name]})
        else:
            talk.data(f"{name:<8} {shown or '(none)':<32} {resolved.origin[name]}")
    talk.say(f"config file: {path}{'' if path.exists() else ' (not there)'}")
