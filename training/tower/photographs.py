"""Photographs of any folder, read when they are needed: recursive, of any size and number."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from shared.errors import UsageError
from shared.libraries import PICTURE_FORMATS
from training.loop.pictures import HELD_OUT, SUFFIXES

SMALLEST: Final = 32  # pixels a side: what is smaller shows nothing
NARROWEST, WIDEST = 0.5, 2.0  # width over height of the crops
SMALLER: Final = 0.25  # share of the steps whose pictures are smaller than the tower wants them

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]


class Photographs:
    """The pictures below a folder, a part of which, by their names, is kept for validation.

    `skipped`: those that could not be read, each named once in the log. Raises FileNotFoundError
    where there are none.
    """

    def __init__(self, folder: Path, part: str) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}: name one with photographs")
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        kept = [zlib.crc32(name.encode()) % HELD_OUT == 0 for name in names]
        if files and not any(kept):
            kept[0] = True  # of a small folder, one
        self.files = [f for f, k in zip(files, kept, strict=True) if k == (part == "val")]
        if not self.files:
            suffixes = ", ".join(sorted(SUFFIXES))
            raise FileNotFoundError(
                f"there are no photographs for {part} below {folder}: two at least, of {suffixes}"
            )
        self.skipped: set[Path] = set()

    def crops(
        self, count: int, height: int, width: int, chance: np.random.Generator
    ) -> list[Picture]:
        """Random crops u8 [height, width, 3], each the larger part of a picture, some mirrored;
        half of them are as large as fits.

        Raises UsageError where no picture can be read.
        """
        return [
            self._crop(self._any(height, width, chance), height, width, chance)
            for _ in range(count)
        ]

    def size(self, longest: int, chance: np.random.Generator) -> tuple[int, int]:
        """Height and width for a step, as pictures are sent: the aspect of one of these, its long
        side `longest`, or of a small one half of that or more.

        Raises UsageError where no picture can be read.
        """
        picture = self._any(longest, longest, chance)
        aspect = min(max(picture.width / picture.height, NARROWEST), WIDEST)
        smaller = chance.random() < SMALLER
        long = round(longest * float(chance.uniform(0.5, 1.0))) if smaller else longest
        short = max(SMALLEST, round(long * min(aspect, 1 / aspect)))
        return (short, long) if aspect > 1 else (long, short)

    def first(self, count: int, longest: int) -> Iterator[Picture]:
        """The first pictures that can be read, scaled down to a long side of `longest`."""
        given = 0
        for file in self.files:
            picture = self._read(file, longest)
            if picture is not None and given < count:
                given += 1
                scale = min(1.0, longest / max(picture.size))
                size = [max(1, round(side * scale)) for side in picture.size]
                yield np.array(picture.resize(size, Image.Resampling.LANCZOS))
            if given == count:
                return

    def _any(self, height: int, width: int, chance: np.random.Generator) -> Image.Image:
        while len(self.skipped) < len(self.files):
            file = self.files[int(chance.integers(len(self.files)))]
            if file not in self.skipped and (picture := self._read(file, 2 * max(height, width))):
                return picture
        raise UsageError(
            f"none of the {len(self.files)} photographs can be read: the first is {self.files[0]}"
        )

    def _crop(
        self, picture: Image.Image, height: int, width: int, chance: np.random.Generator
    ) -> Picture:
        most = min(picture.width / width, picture.height / height)
        share = most * min(1.0, float(chance.uniform(0.7, 1.3)))
        size = max(1, round(width * share)), max(1, round(height * share))
        left = int(chance.integers(picture.width - size[0] + 1))
        top = int(chance.integers(picture.height - size[1] + 1))
        box = (left, top, left + size[0], top + size[1])
        crop = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))
        return np.ascontiguousarray(crop[:, ::-1] if chance.random() < 0.5 else crop)

    def _read(self, file: Path, enough: int) -> Image.Image | None:
        """A picture in RGB, or None for one that cannot be read, which is named once."""
        try:
            with Image.open(file, formats=PICTURE_FORMATS) as opened:
                image: Any = opened
                image.draft("RGB", (enough, enough))  # JPEGs are scaled as they are decoded
                picture: Image.Image = image.convert("RGB")
        except (
            OSError,
            ValueError,
            SyntaxError,
            UnidentifiedImageError,
            Image.DecompressionBombError,
        ) as error:
            self._skip(file, str(error))
            return None
        if min(picture.size) < SMALLEST:
            self._skip(file, f"it has {picture.width}x{picture.height} pixels")
            return None
        return picture

    def _skip(self, file: Path, reason: str) -> None:
        if file not in self.skipped:
            self.skipped.add(file)
            log.warning("%s is left out (%d so far): %s", file, len(self.skipped), reason)
