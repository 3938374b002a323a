"""Files that are never half there, and the folders that are the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shared.errors import UsageError


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write: beside its place, then fsync and rename where the block ends without error.

    After a crash the file at `path` is the old one or the new one. A link stays, and what it names
    is written. mode: permissions, less the process's mask.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(beside, flags, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a `whole_file` at once."""
    with whole_file(path, mode) as file:
        file.write(data)


def write_named(path: Path, data: bytes) -> None:
    """Write a file that a user named, as a whole; a pipe or device is written to, not replaced.

    Raises UsageError where that fails.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder outlive a power cut, where the system can (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def xdg(variable: str, fallback: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Our folder below one of the XDG base directories; `fallback` is relative to the home.

    Raises UsageError where this user has none.
    """
    base = environment.get(variable)
    try:
        return (Path(base) if base else Path.home() / fallback) / "cotam"
    except RuntimeError as error:  # a user without a name, as containers have them
        raise UsageError("there is no home directory", hint=f"set HOME or {variable}") from error
