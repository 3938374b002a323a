"""What objects are drawn on: photographs, procedural textures, and the marks of a kind of scene."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

CACHED_SHORT_SIDE: Final = 288
"""Photographs are kept in memory reduced to this short side: about 0.35 MB each."""

VAL_SHARE: Final = 16
"""One photograph in this many belongs to the validation part."""

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})
FORMATS: Final = ("PNG", "JPEG", "WEBP")
SCIKIT_IMAGE: Final = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "rocket.jpg"),
)
"""Photographs that come inside the scikit-image package."""

Array = npt.NDArray[np.uint8]


class Backgrounds:
    """A fixed, ordered list of photographs, decoded on first use and then kept in memory.

    An empty list is allowed: every background is then procedural.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = tuple(paths)
        self._cache: dict[int, Array] = {}

    @classmethod
    def from_folder(cls, path: Path | str, part: Literal["train", "val"]) -> Backgrounds:
        """Photographs of a folder (searched in depth), split by a hash of their file names.

        Raises FileNotFoundError where the folder holds no photograph of that part.
        """
        files = [p for p in sorted(Path(path).rglob("*")) if p.suffix.lower() in SUFFIXES]
        chosen = [p for p in files if _is_val(p.name) == (part == "val")]
        if not chosen:
            raise FileNotFoundError(f"no photographs for the {part} part in {path}")
        return cls(chosen)

    @classmethod
    def builtin(cls) -> Backgrounds:
        """scikit-image's photographs where that package is installed, else none.

        The package is only located, never imported.
        """
        spec = importlib.util.find_spec("skimage")
        if spec is None or spec.origin is None:
            return cls()
        folder = Path(spec.origin).parent / "data"
        return cls([folder / name for name in SCIKIT_IMAGE if (folder / name).is_file()])

    def __len__(self) -> int:
        return len(self.paths)

    def photograph(self, index: int) -> Array:
        """Photograph ``index``, u8 ``[H, W, 3]``, short side at most ``CACHED_SHORT_SIDE``."""
        photograph = self._cache.get(index)
        if photograph is None:
            with Image.open(self.paths[index], formats=FORMATS) as opened:
                picture = opened.convert("RGB")
            ratio = CACHED_SHORT_SIDE / min(picture.size)
            if ratio < 1:
                width, height = (max(1, round(side * ratio)) for side in picture.size)
                picture = picture.resize((width, height), Image.Resampling.BOX)
            photograph = self._cache[index] = np.asarray(picture)
        return photograph


def _is_val(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % VAL_SHARE == 0


def draw_background(
    rng: np.random.Generator, backgrounds: Backgrounds, size: tuple[int, int], category: str
) -> Image.Image:
    """A whole background, RGB, ``size`` = (width, height)."""
    if len(backgrounds) and rng.random() < 0.72:
        picture = _crop(rng, backgrounds.photograph(int(rng.integers(len(backgrounds)))), size)
    else:
        picture = _texture(rng, size)
    if rng.random() < 0.5:  # softened, so that objects stand out
        small = (max(1, size[0] // 5), max(1, size[1] // 5))
        picture = picture.resize(small, Image.Resampling.BILINEAR)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    contrast = rng.uniform(0.35, 1.0)
    level = int(rng.integers(90, 190))
    picture = Image.blend(Image.new("RGB", size, (level, level, level)), picture, contrast)
    if category:
        _MARKS[category](rng, picture)
    return picture


def _crop(rng: np.random.Generator, photo: Array, size: tuple[int, int]) -> Image.Image:
    """A random window of the photograph with the wanted aspect, resized."""
    height, width = photo.shape[:2]
    zoom = min(width / size[0], height / size[1]) * rng.uniform(0.7, 1.0)
    w, h = max(1, int(size[0] * zoom)), max(1, int(size[1] * zoom))
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    window = Image.fromarray(np.ascontiguousarray(photo[y : y + h, x : x + w]))
    if rng.random() < 0.5:
        window = window.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return window.resize(size, Image.Resampling.BILINEAR)


def _palette(rng: np.random.Generator, n: int) -> list[tuple[int, int, int]]:
    """Colours near one another and not too saturated."""
    base = rng.integers(50, 215, 3)
    near = np.clip(base + rng.integers(-45, 46, (n, 3)), 0, 255)
    return [(int(r), int(g), int(b)) for r, g, b in near]


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Image.Image:
    grid = np.array(_palette(rng, cells * cells), np.uint8).reshape(cells, cells, 3)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A gradient, clouds, stripes, tiles or bricks."""
    width, height = size
    style = int(rng.integers(5))
    if style == 0:
        return _noise(rng, size, 2)
    if style == 1:
        coarse = _noise(rng, size, int(rng.integers(3, 7)))
        return Image.blend(coarse, _noise(rng, size, int(rng.integers(16, 49))), 0.45)
    first, second = _palette(rng, 2)
    picture = Image.new("RGB", size, first)
    draw = ImageDraw.Draw(picture)
    step = int(rng.integers(10, 40))
    if style == 2:
        slant = float(rng.uniform(-0.6, 0.6)) * height
        for x in range(-height, width + height, step):
            draw.line([(x, 0), (x + slant, height)], second, max(1, step // 2))
    elif style == 3:
        for row, y in enumerate(range(0, height, step)):
            for x in range((row % 2) * step, width, 2 * step):
                draw.rectangle((x, y, x + step - 1, y + step - 1), second)
    else:
        for row, y in enumerate(range(0, height, step)):
            draw.line([(0, y), (width, y)], second, 2)
            for x in range((row % 2) * step, width, 2 * step):
                draw.line([(x, y), (x, y + step)], second, 2)
    return Image.blend(picture, _noise(rng, size, 24), 0.3)


def _ground(
    rng: np.random.Generator,
    picture: Image.Image,
    low: tuple[int, int, int],
    spread: int,
    cells: int,
) -> tuple[int, ImageDraw.ImageDraw]:
    """Covers the bottom of the picture with speckled ground; returns its top row and a pen."""
    width, height = picture.size
    top = int(height * rng.uniform(0.58, 0.72))
    grain = rng.integers(0, spread, (cells, cells * 2, 1)) + np.array(low)
    strip = Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))
    picture.paste(strip.resize((width, height - top), Image.Resampling.BILINEAR), (0, top))
    return top, ImageDraw.Draw(picture)


def _street(rng: np.random.Generator, picture: Image.Image) -> None:
    width, height = picture.size
    top, draw = _ground(rng, picture, (78, 78, 82), 18, 24)
    draw.rectangle((0, top, width, top + height * 0.025), (165, 160, 152))
    middle, dash = (top + height) // 2 + 2, width // 8
    for x in range(int(rng.integers(-dash, 0)), width, dash + dash // 2):
        draw.rectangle((x, middle, x + dash - dash // 4, middle + height * 0.018), (232, 228, 215))


def _field(rng: np.random.Generator, picture: Image.Image) -> None:
    width, height = picture.size
    top, draw = _ground(rng, picture, (88, 138, 58), 40, 32)
    unit = height / 256
    for _ in range(70):
        x, y = float(rng.integers(width)), float(rng.integers(top, height))
        draw.line([(x, y), (x + 2 * unit, y - 6 * unit)], (62, 112, 44), max(1, round(unit)))


def _beach(rng: np.random.Generator, picture: Image.Image) -> None:
    width, height = picture.size
    top, draw = _ground(rng, picture, (212, 188, 136), 24, 32)
    sea = top - int(height * rng.uniform(0.12, 0.2))
    draw.rectangle((0, sea, width, top), (52, 138, 172))
    unit = height / 256
    for _ in range(14):
        x, y = float(rng.integers(width)), float(rng.integers(sea, top))
        draw.line([(x, y), (x + 14 * unit, y)], (150, 205, 220), max(1, round(unit)))
    draw.rectangle((0, top - 2 * unit, width, top + 2 * unit), (238, 240, 236))


def _indoor(rng: np.random.Generator, picture: Image.Image) -> None:
    width, height = picture.size
    wall = np.array([(216, 206, 190), (190, 204, 210), (214, 196, 200)][int(rng.integers(3))])
    flat = Image.new("RGB", picture.size, tuple(int(v) for v in wall))
    picture.paste(Image.blend(picture, flat, 0.8))
    top, draw = _ground(rng, picture, (142, 98, 60), 14, 16)
    draw.rectangle((0, top - height * 0.03, width, top), (240, 236, 228))
    unit = height / 256
    for y in range(top, height, max(1, round(17 * unit))):
        draw.line([(0, y), (width, y)], (104, 70, 42), max(1, round(unit)))
    for x in range(-width, 2 * width, max(1, round(46 * unit))):
        draw.line([(width / 2 + (x - width / 2) * 0.6, top), (x, height)], (104, 70, 42), 1)


def _night(rng: np.random.Generator, picture: Image.Image) -> None:
    width, height = picture.size
    picture.paste(Image.blend(picture, Image.new("RGB", picture.size, (10, 14, 46)), 0.8))
    draw, unit = ImageDraw.Draw(picture), height / 256
    for _ in range(45):
        x, y = float(rng.integers(width)), float(rng.integers(height))
        r = float(rng.uniform(0.4, 1.3)) * unit
        draw.ellipse((x - r, y - r, x + r, y + r), (236, 236, 214))


_MARKS: Final = {
    "street": _street,
    "field": _field,
    "beach": _beach,
    "indoor": _indoor,
    "night": _night,
}
