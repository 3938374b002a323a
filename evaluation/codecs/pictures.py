"""The photographs that fidelity is measured on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from edge_client.pictures.images import Picture, load
from shared.errors import CotamError, UsageError

T = TypeVar("T")

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm")
COLOUR_PHOTOGRAPHS: Final = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
)
"""What scikit-image's package holds of colour photographs."""


@dataclass(frozen=True)
class PictureSet:
    """Files in name order, what the report calls them, and the names of those left out."""

    name: str
    files: tuple[Path, ...]
    unreadable: tuple[str, ...] = ()

    def describe(self) -> str:
        """The name, and the files that were left out, for the report."""
        if not self.unreadable:
            return self.name
        return f"{self.name} (left out, because they cannot be read: {', '.join(self.unreadable)})"

    def load(self, index: int) -> Picture:
        """Picture u8 [H, W, 3]."""
        return load(self.files[index])


def picture_set(folder: Path | None, most: int = 0) -> PictureSet:
    """The pictures of a folder, or scikit-image's; the first `most` of them, 0 for all.

    Those of a folder that cannot be read are left out, with a line on stderr. Raises UsageError
    where none is left.
    """
    unreadable: list[Path] = []
    if folder is None:
        name, files = "scikit-image's colour photographs", _builtin()
    else:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint="name a folder of pictures")
        name = f"the pictures of `{folder.resolve().name}`"
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
        files, unreadable = leave_out_unreadable(files[:most] if most else files, load)
    if not files:
        raise UsageError(
            f"there are no pictures: {folder or 'scikit-image is not installed'}",
            hint="name a folder with some by --pictures",
        )
    left_out = tuple(file.name for file in unreadable)
    return PictureSet(name, tuple(files[:most] if most else files), left_out)


def leave_out_unreadable(
    items: Sequence[T], read: Callable[[T], object]
) -> tuple[list[T], list[T]]:
    """Those whose picture `read` can load, and the others, each told on stderr with its reason."""
    readable: list[T] = []
    unreadable: list[T] = []
    for item in items:
        try:
            read(item)
        except CotamError as error:
            print(f"left out: {error}", file=sys.stderr)
            unreadable.append(item)
        else:
            readable.append(item)
    return readable, unreadable


def _builtin() -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        return []
    data = Path(spec.origin).parent / "data"
    return [data / name for name in COLOUR_PHOTOGRAPHS if (data / name).is_file()]
