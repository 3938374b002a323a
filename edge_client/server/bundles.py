"""What a server tells of its bundles, and the edge part of one fetched from it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from edge_client.coding.bundles import local_bundles
from edge_client.server.connection import Connection
from edge_client.server.protocol import check_status, model_of
from shared.bundle import MANIFEST, Bundle
from shared.errors import BundleUnknown
from shared.remote.keeping import keep
from shared.remote.places import EDGE, MOST_BYTES, cache_folder
from shared.schemas import ModelList


def server_bundle_ids(http: httpx.Client) -> list[str]:
    """Hexadecimal ids of the bundles that a server has, the one to code with first."""
    return _of_models(http)[0]


def choose_bundle(connection: Connection, current: Bundle) -> Bundle:
    """A bundle that the server takes: the current one, another of this device, or a fetched one.

    Raises BundleUnknown where the server has none.
    """
    with connection.open() as http:
        ids, codecs = _of_models(http)
        if not ids:
            raise BundleUnknown(f"the server at {connection.server} has no bundle")
        device = (current, *local_bundles())
        same = [bundle for bundle in device if bundle.hex_id in ids]
        readable = [bundle for bundle in device if bundle.codec_id.hex() in codecs]
        return next(iter(same + readable), None) or fetch_bundle(http, ids[0])


def fetch_bundle(http: httpx.Client, hex_id: str) -> Bundle:
    """Fetch the edge part of a bundle into the cache; one that is there already is returned.

    Raises BundleCorrupt, UsageError where it cannot be written, and what the server reports.
    """

    def read(name: str) -> Iterator[bytes]:
        url = f"/v1/bundles/{hex_id}"
        return _download(http, url if name == MANIFEST else f"{url}/files/{name}")

    return keep(cache_folder(), read, EDGE, MOST_BYTES["edge"], hex_id)


def _of_models(http: httpx.Client) -> tuple[list[str], list[str]]:
    """Ids of a server's bundles, and of the codecs whose streams it takes, each once."""
    models = model_of(http.get("/v1/models"), ModelList).data
    ids = dict.fromkeys(id_ for model in models for id_ in model.bundles)
    codecs = dict.fromkeys(id_ for model in models for id_ in model.codecs)
    return list(ids), list(codecs)


def _download(http: httpx.Client, url: str) -> Iterator[bytes]:
    with http.stream("GET", url) as response:
        if not response.is_success:
            response.read()
        check_status(response)
        yield from response.iter_bytes()
