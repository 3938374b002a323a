"""What a user names on the command line -> the pictures that are meant."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edge_client.pictures.download import is_url
from edge_client.pictures.suffixes import CLIP_SUFFIXES, SUFFIXES
from shared.errors import UsageError

STDIN: Final = "-"
MAP_MARK: Final = "cotam map"
"""What PNGs of `map` and `inspect --map` hold as their software, so that nobody takes them for
pictures of a folder."""
_MARK: Final = b"tEXtSoftware\0" + MAP_MARK.encode()
_HEAD: Final = 128  # bytes of a PNG that hold it, after the header


def is_clip(name: str, folders: bool = False) -> bool:
    """Whether a name is that of a clip: by its suffix, or a device. folders: these are, too."""
    if is_url(name):
        return False
    path = Path(name)
    try:
        device = path.is_char_device()
        return device or path.suffix.lower() in CLIP_SUFFIXES or (folders and path.is_dir())
    except (OSError, ValueError):
        return False


def expand(named: Iterable[str], clips: bool = False) -> list[str]:
    """Files, folders (with what is below them), patterns, URLs and -, as one list of pictures.

    A file that is named is taken whatever it is called; in folders, names decide. Sorted within
    each folder and pattern, hidden files and maps that were drawn here left out, each file once.
    clips: folders are clips, and stay as they are named.
    Raises UsageError where a folder or pattern holds no picture.
    """
    expanded: dict[str, None] = {}
    for name in named:
        pictures = [name] if is_clip(name, clips) else list(_expand_one(name))
        if not pictures:
            raise UsageError(f"there is no picture in {name}", hint=_known())
        expanded.update(dict.fromkeys(pictures))
    return list(expanded)


def pictures_in(folder: Path) -> list[Path]:
    """Pictures in a folder and below, by their names, sorted; none that is hidden or a map."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
        and not (".map." in path.name and _is_map(path))
    )


def _expand_one(name: str) -> Iterator[str]:
    if name == STDIN or is_url(name):
        yield name
    elif os.path.isdir(name):  # noqa: PTH112 -- false, not an error, for names that cannot be
        yield from (str(path) for path in pictures_in(Path(name)) if not _is_map(path))
    elif glob.has_magic(name) and not os.path.exists(name):  # noqa: PTH110
        for path in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 -- may be absolute
            if Path(path).is_file() and not _is_map(Path(path)):
                yield path
    else:
        yield name


def _is_map(path: Path) -> bool:
    if path.suffix.lower() != ".png":
        return False
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:
        return False  # whoever reads it will say so


def _known() -> str:
    return "names that end in " + " ".join(sorted(SUFFIXES))
