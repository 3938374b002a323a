"""What a user names on the command line -> the pictures that are meant."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edge_client.pictures.suffixes import SUFFIXES
from shared.errors import UsageError

STDIN: Final = "-"


def expand(named: Iterable[str]) -> list[str]:
    """Files, folders (with what is below them), patterns and -, as one list of pictures.

    A file that is named is taken whatever it is called; in folders, names decide. Sorted within
    each folder and pattern, hidden files left out, each file once. Raises UsageError where a
    folder or pattern holds no picture.
    """
    found: dict[str, None] = {}
    for name in named:
        pictures = list(_expand_one(name))
        if not pictures:
            raise UsageError(f"there is no picture in {name}", hint=_known())
        found.update(dict.fromkeys(pictures))
    return list(found)


def pictures_in(folder: Path) -> list[Path]:
    """Pictures in a folder and below, by their names, sorted; nothing hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _expand_one(name: str) -> Iterator[str]:
    if name == STDIN:
        yield name
    elif os.path.isdir(name):  # noqa: PTH112 -- false, not an error, for names that cannot be
        yield from map(str, pictures_in(Path(name)))
    elif glob.has_magic(name) and not os.path.exists(name):  # noqa: PTH110
        for path in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 -- may be absolute
            if Path(path).is_file():
                yield path
    else:
        yield name


def _known() -> str:
    return "names that end in " + " ".join(sorted(SUFFIXES))
