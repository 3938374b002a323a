"""`edge_client bundle`: the weights of this device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edge_client.cli import options
from edge_client.cli.console.output import Output

if TYPE_CHECKING:
    from shared.bundle import Bundle

app = typer.Typer(help="Weights to code with.")


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the bundles of this device: those of the package, and those that were fetched."""
    from edge_client.coding.bundles import local_bundles

    talk = Output(json)
    for bundle in local_bundles():
        _show(talk, bundle)


@app.command()
def fetch(
    bundle_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|URL",
            help="One of the server's, https://... or hf:ORG/NAME. (default: all that the server "
            "takes)",
        ),
    ] = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    json: options.Json = False,
) -> None:
    """Fetch bundles from the server, or from elsewhere, into the cache, hashes checked.

    [bold]Example[/bold]

    edge_client bundle fetch && edge_client bundle list
    """
    settings = options.resolve_options(server, api_key).settings
    import httpx

    from edge_client.coding.bundles import local_bundles
    from edge_client.server.bundles import fetch_bundle, server_bundle_ids
    from edge_client.server.connection import Connection
    from shared.remote.places import EDGE, is_remote, open_place

    talk = Output(json)
    if bundle_id is not None and is_remote(bundle_id):
        _show(talk, open_place(bundle_id, EDGE))
        return
    connection = Connection(settings.server, settings.api_key)
    local = {bundle.hex_id: bundle for bundle in local_bundles()}
    try:
        with connection.open() as http:
            for hex_id in [bundle_id] if bundle_id else server_bundle_ids(http):
                if hex_id in local:
                    talk.say(f"{hex_id} is here already")
                _show(talk, local.get(hex_id) or fetch_bundle(http, hex_id))
    except httpx.RequestError as error:
        raise connection.unreachable(error) from error


def _show(talk: Output, bundle: Bundle) -> None:
    manifest = bundle.manifest
    size = sum(manifest.files[name].bytes for name in bundle.files("edge"))
    if talk.json:
        talk.record(
            {
                "id": bundle.hex_id,
                "name": manifest.name,
                "version": manifest.version,
                "resolution": manifest.resolution,
                "edge_bytes": size,
                "path": str(bundle.root),
            }
        )
    else:
        talk.data(
            f"{bundle.hex_id}  {manifest.name} {manifest.version}  {manifest.resolution} pixels  "
            f"{size / 1e6:.1f} MB  {bundle.root}"
        )
