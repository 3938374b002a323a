"""JPEG, WebP and AVIF as Pillow writes them: real files in memory, and back."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from shared.errors import UsageError
from shared.libraries import PICTURE_FORMATS

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class PillowFormat:
    """A format at its settings; `ladder` holds qualities up to about 0.8 bpp, lowest first."""

    name: str
    feature: str
    settings: dict[str, Any] = field(hash=False)
    ladder: tuple[int, ...]

    def encode(self, picture: Picture, quality: int) -> bytes:
        """A file of a picture u8 [H, W, 3]; quality 0..100 as the format counts it."""
        if not features.check(self.feature):
            raise UsageError(
                f"this Pillow cannot write {self.name}", hint="install a Pillow wheel that can"
            )
        file = io.BytesIO()
        Image.fromarray(picture).save(file, self.name, quality=quality, **self.settings)
        return file.getvalue()

    def size(self, picture: Picture, quality: int) -> int:
        """Bytes of that file."""
        return len(self.encode(picture, quality))

    def decode(self, file: bytes) -> Picture:
        """The picture u8 [H, W, 3] of a file."""
        return decode(file)

    def describe(self) -> str:
        """Name, library, version and settings, for the report."""
        version = features.version(self.feature)
        if self.name == "JPEG" and features.check("libjpeg_turbo"):
            version = f"libjpeg-turbo {features.version('libjpeg_turbo')}"
        settings = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        return f"{self.name} ({version}; {settings})"


JPEG: Final = PillowFormat("JPEG", "jpg", {"optimize": True}, (1, 3, 5, 8, 12, 18, 25, 35, 50))
WEBP: Final = PillowFormat("WebP", "webp", {"method": 6}, (0, 2, 5, 10, 20, 30, 45, 60))
AVIF: Final = PillowFormat("AVIF", "avif", {"speed": 4}, (3, 8, 14, 20, 27, 34, 42, 50))
FORMATS: Final = (JPEG, WEBP, AVIF)


def decode(file: bytes) -> Picture:
    """The picture u8 [H, W, 3] of a file."""
    with Image.open(io.BytesIO(file), formats=PICTURE_FORMATS) as image:
        return np.array(image.convert("RGB"))


def nearest_quality(size_at: Callable[[int], float], size: float) -> int:
    """The quality 0..100 whose size is nearest to `size`, by bisection; sizes grow with quality."""
    low, high = 0, 100
    while high - low > 1:
        middle = (low + high) // 2
        if size_at(middle) <= size:
            low = middle
        else:
            high = middle
    return min((low, high), key=lambda quality: abs(size_at(quality) - size))


def best_within(form: PillowFormat, picture: Picture, budget: int) -> bytes:
    """The largest file of at most `budget` bytes, or the smallest there is where none fits."""
    files = {}
    low, high = 0, 101
    while high - low > 1:
        middle = (low + high) // 2
        files[middle] = form.encode(picture, middle)
        low, high = (middle, high) if len(files[middle]) <= budget else (low, middle)
    return files[low] if low in files else form.encode(picture, 0)
