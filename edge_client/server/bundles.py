"""The bundles of this device: what ships in the package, and what was fetched from servers.

Fetched ones lie side by side in `$XDG_CACHE_HOME/cotam/bundles`, each under its id, with the edge
part alone: the files that the cloud needs stay there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_client.settings import xdg
from shared.bundle import (
    DEFAULT,
    EMBEDDED,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Bundle,
    embedded,
    manifest_id,
    open_bundle,
    parse_manifest,
)
from shared.errors import BundleCorrupt, BundleMissing, BundleUnknown
from shared.schemas import ModelList

if TYPE_CHECKING:
    import httpx

AUTO: Final = "auto"
"""The name that stands for: the embedded bundle, or another where the server does not take it."""

MAX_EDGE_BYTES: Final = 1 << 30


def cache() -> Path:
    """Where fetched bundles lie."""
    return xdg("XDG_CACHE_HOME", ".cache") / "bundles"


def here() -> list[Bundle]:
    """All bundles of this device, the embedded ones first, each id once."""
    found: dict[bytes, Bundle] = {}
    for folder in (EMBEDDED, cache()):
        for path in sorted(folder.glob(f"*/{MANIFEST}")):
            with suppress(BundleMissing, BundleCorrupt):
                bundle = Bundle.open(path.parent)
                found.setdefault(bundle.id, bundle)
    return list(found.values())


def find_named(name: str) -> Bundle:
    """A bundle by "auto", embedded name, id or directory. Raises BundleMissing, BundleCorrupt."""
    if name == AUTO:
        return embedded(DEFAULT)
    try:
        return open_bundle(name)
    except BundleMissing:
        for bundle in here():
            if name in (bundle.hex_id, bundle.manifest.name):
                return bundle
        raise


def of_server(http: httpx.Client) -> list[str]:
    """Hexadecimal ids of the bundles that a server takes streams of."""
    from edge_client.server.protocol import check_status  # httpx, which `encode` does without

    response = http.get("/v1/models")
    check_status(response)
    models = ModelList.model_validate_json(response.content).data
    return list(dict.fromkeys(id_ for model in models for id_ in model.bundles))


def agree(http: httpx.Client, current: Bundle) -> Bundle:
    """A bundle that the server takes: the current one, another of this device, or a fetched one.

    Raises BundleUnknown where the server has none.
    """
    wanted = of_server(http)
    if not wanted:
        raise BundleUnknown(f"the server at {http.base_url} has no bundle")
    for bundle in _first([current], here()):
        if bundle.hex_id in wanted:
            return bundle
    return fetch(http, wanted[0])


def fetch(http: httpx.Client, hex_id: str) -> Bundle:
    """Fetch the edge part of a bundle into the cache; one that is there already is returned.

    The manifest must hash to the id, and each file to the manifest's hash of it. The bundle
    appears whole or not at all. Raises BundleCorrupt, and what the server reports.
    """
    folder = cache()
    place = folder / hex_id
    with suppress(BundleMissing):
        return Bundle.open(place)
    folder.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{hex_id}-", dir=folder))
    try:
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
        with suppress(OSError):  # another process was quicker: its bundle is the same
            beside.rename(place)
        return Bundle.open(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _download(http: httpx.Client, url: str, most: int, what: str) -> Iterator[bytes]:
    from edge_client.server.protocol import check_status

    with http.stream("GET", url) as response:
        if not response.is_success:
            response.read()
        check_status(response)
        seen = 0
        for block in response.iter_bytes():
            seen += len(block)
            if seen > most:
                raise BundleCorrupt(f"{what} is larger than the {most} bytes that it may have")
            yield block


def _first(*groups: Sequence[Bundle]) -> Iterator[Bundle]:
    for group in groups:
        yield from group
