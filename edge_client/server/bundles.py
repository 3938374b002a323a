"""What a server tells of its bundles, and the edge part of one fetched from it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from edge_client.coding.bundles import cache_folder, local_bundles
from edge_client.server.connection import Connection
from edge_client.server.protocol import check_status, model_of
from shared.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, manifest_id, parse_manifest
from shared.errors import BundleCorrupt, BundleMissing, BundleUnknown, UsageError
from shared.schemas import ModelList

MAX_EDGE_BYTES: Final = 1 << 30


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

    The manifest must hash to the id, and each file to the manifest's hash of it. The bundle
    appears whole or not at all. Raises BundleCorrupt, UsageError where it cannot be written, and
    what the server reports.
    """
    folder = cache_folder()
    with suppress(BundleMissing):
        return Bundle.open(folder / hex_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{hex_id}-", dir=folder))
        try:
            _fetch_into(beside, http, hex_id)
            with suppress(OSError):  # another process was quicker: its bundle is the same
                beside.rename(folder / hex_id)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UsageError(
            f"the bundle {hex_id} cannot be kept in {folder}: {error.strerror}",
            hint="XDG_CACHE_HOME names another folder",
        ) from error
    return Bundle.open(folder / hex_id)


def _of_models(http: httpx.Client) -> tuple[list[str], list[str]]:
    """Ids of a server's bundles, and of the codecs whose streams it takes, each once."""
    models = model_of(http.get("/v1/models"), ModelList).data
    ids = dict.fromkeys(id_ for model in models for id_ in model.bundles)
    codecs = dict.fromkeys(id_ for model in models for id_ in model.codecs)
    return list(ids), list(codecs)


def _fetch_into(beside: Path, http: httpx.Client, hex_id: str) -> None:
    url = f"/v1/bundles/{hex_id}"
    raw = b"".join(_download(http, url, MAX_MANIFEST_BYTES, "its manifest"))
    if manifest_id(raw).hex() != hex_id:
        raise BundleCorrupt(f"the server's manifest is not that of the bundle {hex_id}")
    manifest = parse_manifest(raw)
    edge = {name: entry for name, entry in manifest.files.items() if entry.part == "edge"}
    if sum(entry.bytes for entry in edge.values()) > MAX_EDGE_BYTES:
        raise BundleCorrupt(f"the bundle {hex_id} has over {MAX_EDGE_BYTES} bytes")
    for name, entry in edge.items():
        path = beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for block in _download(http, f"{url}/files/{name}", entry.bytes, name):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != entry.sha256:
            raise BundleCorrupt(
                f"{name} came over the wire with another hash than the manifest's",
                hint="fetch it again",
            )
    (beside / MANIFEST).write_bytes(raw)


def _download(http: httpx.Client, url: str, most: int, what: str) -> Iterator[bytes]:
    with http.stream("GET", url) as response:
        if not response.is_success:
            response.read()
        check_status(response)
        size = 0
        for block in response.iter_bytes():
            size += len(block)
            if size > most:
                raise BundleCorrupt(f"{what} is larger than the {most} bytes that it may have")
            yield block
