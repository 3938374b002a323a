"""The photographs that fidelity is measured on."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_client.pictures.images import Picture, load
from shared.errors import UsageError

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm")
COLOUR_PHOTOGRAPHS: Final = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
)
"""What scikit-image's package holds of colour photographs."""


@dataclass(frozen=True)
class PictureSet:
    """Files in name order, and what the report calls them."""

    name: str
    files: tuple[Path, ...]

    def load(self, index: int) -> Picture:
        """Picture u8 [H, W, 3]."""
        return load(self.files[index])


def picture_set(folder: Path | None, most: int = 0) -> PictureSet:
    """The pictures of a folder, or scikit-image's; the first `most` of them, 0 for all.

    Raises UsageError where there is none.
    """
    if folder is None:
        name, files = "scikit-image's colour photographs", _builtin()
    else:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint="name a folder of pictures")
        name = f"the pictures of `{folder.resolve().name}`"
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    if not files:
        raise UsageError(
            f"there are no pictures: {folder or 'scikit-image is not installed'}",
            hint="name a folder with some by --pictures",
        )
    return PictureSet(name, tuple(files[:most] if most else files))


def _builtin() -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        return []
    data = Path(spec.origin).parent / "data"
    return [data / name for name in COLOUR_PHOTOGRAPHS if (data / name).is_file()]
