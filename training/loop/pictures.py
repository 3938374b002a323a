"""Photographs for training: decoded once, cropped at random; a part is kept aside by file name."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.libraries import PICTURE_FORMATS

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif"}
HELD_OUT = 32  # one file in so many is kept for validation


def photographs(folder: Path, part: str) -> list[NDArray[np.uint8]]:
    """All pictures u8 [H, W, 3] of the `part` ("train" or "val") of a folder, in name order."""
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    chosen = [f for f in files if (zlib.crc32(f.name.encode()) % HELD_OUT == 0) == (part == "val")]
    if not chosen:
        raise FileNotFoundError(f"no photographs for {part} in {folder}: name a folder with some")
    return [_read(file) for file in chosen]


def _read(file: Path) -> NDArray[np.uint8]:
    with Image.open(file, formats=PICTURE_FORMATS) as image:
        return np.asarray(image.convert("RGB"))


def random_crop(
    pictures: list[NDArray[np.uint8]], side: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A square crop [side, side, 3], mirrored half the time; a quarter are first halved in size."""
    picture = pictures[rng.integers(len(pictures))]
    if rng.random() < 0.25 and min(picture.shape[:2]) >= 2 * side:
        half = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2].astype(np.uint16)
        mean = half[::2, ::2] + half[1::2, ::2] + half[::2, 1::2] + half[1::2, 1::2]
        picture = ((mean + 2) // 4).astype(np.uint8)
    lack = [(0, max(0, side - length)) for length in picture.shape[:2]]
    if any(after for _, after in lack):
        picture = np.pad(picture, (*lack, (0, 0)), mode="reflect")
    top = rng.integers(picture.shape[0] - side + 1)
    left = rng.integers(picture.shape[1] - side + 1)
    crop = picture[top : top + side, left : left + side]
    return crop[:, ::-1] if rng.random() < 0.5 else crop
