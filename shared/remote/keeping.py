"""A bundle into the cache: its manifest first, then each file against the manifest's hash of it.

read --manifest.json, bounded--> id --files of some parts, bounded, hashed--> folder, renamed whole
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from shared.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Bundle,
    Manifest,
    Part,
    manifest_id,
    parse_manifest,
)
from shared.errors import BundleCorrupt, BundleMissing, UsageError

Read = Callable[[str], Iterator[bytes]]
"""Gives the bytes of a file of a bundle, by its name in the manifest, in blocks."""


def keep(
    cache: Path, read: Read, parts: Collection[Part], most_bytes: int, hex_id: str = ""
) -> Bundle:
    """Fetch some parts of a bundle into a folder of `cache`; one that is there already is returned.

    hex_id: the id that the manifest must have, where it is known. most_bytes: of all files. The
    bundle appears whole or not at all. Raises BundleCorrupt, UsageError where it cannot be written,
    and what `read` raises.
    """
    with suppress(BundleMissing):
        if hex_id:
            return Bundle.open(cache / hex_id)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        raw = b"".join(_bounded(read(MANIFEST), MAX_MANIFEST_BYTES, "its manifest"))
        came = manifest_id(raw).hex()
        if hex_id and came != hex_id:
            raise BundleCorrupt(f"the manifest that came is not that of the bundle {hex_id}")
        with suppress(BundleMissing):
            return Bundle.open(cache / came)
        beside = Path(tempfile.mkdtemp(prefix=f".{came}-", dir=cache))
        try:
            _fetch_files(beside, read, parse_manifest(raw), parts, most_bytes)
            (beside / MANIFEST).write_bytes(raw)
            with suppress(OSError):  # another process was quicker: its bundle is the same
                beside.rename(cache / came)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UsageError(
            f"the bundle {hex_id or 'that came'} cannot be kept in {cache}: {error.strerror}",
            hint="XDG_CACHE_HOME names another folder",
        ) from error
    return Bundle.open(cache / came)


def _fetch_files(
    beside: Path, read: Read, manifest: Manifest, parts: Collection[Part], most_bytes: int
) -> None:
    wanted = {name: entry for name, entry in manifest.files.items() if entry.part in parts}
    if sum(entry.bytes for entry in wanted.values()) > most_bytes:
        raise BundleCorrupt(f"the bundle {manifest.name} has over {most_bytes} bytes")
    for name, entry in wanted.items():
        path = beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for block in _bounded(read(name), entry.bytes, name):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != entry.sha256:
            raise BundleCorrupt(
                f"{name} came over the wire with another hash than the manifest's",
                hint="fetch it again",
            )


def _bounded(blocks: Iterator[bytes], most: int, what: str) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > most:
            raise BundleCorrupt(f"{what} is larger than the {most} bytes that it may have")
        yield block
