"""Pictures that appear in a folder, and new versions of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from edge_client.pictures.images import MAX_FILE_BYTES, load
from edge_client.pictures.inputs import pictures_in
from shared.errors import CotamError, UsageError

PATIENCE: Final = 30
"""Looks at a file that stays as it is and cannot be decoded, before it counts as all there is."""


class Version(NamedTuple):
    """What tells one content of a file from the next: replaced by rename, or written over."""

    inode: int
    size: int
    modified: int


def new_pictures(
    folder: Path, pause: Callable[[], None] = lambda: time.sleep(1.0), patience: int = PATIENCE
) -> Iterator[tuple[Path, bytes]]:
    """Pictures that come into a folder after this call began, with their bytes, by name.

    Every version of a file that is seen comes once, as soon as it is whole: when it can be decoded
    to its end and did not change while it was read. One that cannot be is still being written, or
    broken: it comes after it has stayed as it is for `patience` looks.

    The folder is read again after each `pause`: that works on every file system, network shares
    among them. Never ends. Raises UsageError where there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder to watch")
    given = _versions(folder)
    broken: dict[Path, tuple[Version, int]] = {}
    while True:
        pause()
        versions = _versions(folder)
        given = {path: version for path, version in given.items() if path in versions}
        broken = {path: looks for path, looks in broken.items() if path in versions}
        for path, version in versions.items():
            if given.get(path) == version:
                continue
            known, looks = broken.get(path, (version, 0))
            if known == version and 0 < looks < patience:
                broken[path] = version, looks + 1
                continue
            try:
                with path.open("rb") as file:
                    data = file.read(MAX_FILE_BYTES)
                if _version(path) != version:
                    continue
            except OSError:
                continue
            if looks < patience and not _is_whole(data, str(path)):
                broken[path] = version, 1
                continue
            given[path] = version
            broken.pop(path, None)
            yield path, data


def _is_whole(data: bytes, name: str) -> bool:
    try:
        load(data, name, longest=1)  # small, so that a JPEG is quick to decode
    except CotamError:
        return False
    return True


def _versions(folder: Path) -> dict[Path, Version]:
    versions = {}
    for path in pictures_in(folder):
        try:
            versions[path] = _version(path)
        except FileNotFoundError:
            continue
    return versions


def _version(path: Path) -> Version:
    stat = path.stat()
    return Version(stat.st_ino, stat.st_size, stat.st_mtime_ns)
