"""The importance map as people look at it: tints over the picture, and what they mean below it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from edge_client.guidance.guide import Importance
from edge_client.pictures.images import Picture, fit, fitted, scale
from edge_client.pictures.inputs import MAP_MARK
from shared.level_map import MAX_CODE, OFFSETS, LevelMap
from shared.palette import FEWER, MORE, OPACITY, side_of

SHORTEST: Final = 768  # pixels of the long side of what is drawn, at least
LONGEST: Final = 1536  # and at most
LEGEND_OF_IMPORTANCE: Final = [(1.0, "most important"), (0.5, ""), (0.0, "least important")]
_TEXT: Final = 20  # pixels
_LINE: Final = 44  # pixels a line of the legend
_OUTLINE: Final = 2  # pixels wide
_EDGE: Final = 14
_INK: Final = (40, 40, 40)

Sides = NDArray[np.float32]
Legend = Sequence[tuple[float | None, str]]


def sides_of_levels(level_map: LevelMap) -> Sides:
    """What is marked f32 [rows, columns], -1 fewer bits to 1 more, of the levels that are coded."""
    sides = [side_of(level, level_map.levels) for level in range(level_map.levels)]
    return np.array(sides, np.float32)[level_map.values]


def sides_of_importance(importance: Importance) -> Sides:
    """What is marked f32 [rows, columns], 0 for the least important cell to 1 for the most."""
    spread = float(importance.max() - importance.min())
    return (importance - importance.min()) / spread if spread > 0 else np.zeros_like(importance)


def legend_of_levels(level_map: LevelMap, quality_code: int) -> Legend:
    """What the levels mean, most bits first: how many cells, and the quality at which they are."""
    legend = []
    for level, offset in reversed(list(enumerate(OFFSETS[level_map.levels]))):
        code = min(max(quality_code + offset * level_map.step, 0), MAX_CODE)
        count = int((level_map.values == level).sum())
        name = "more bits" if offset > 0 else "fewer bits" if offset < 0 else "as chosen"
        text = f"{name}: {count} cells, quality {code / 20:g}"
        legend.append((side_of(level, level_map.levels), text))
    return legend


def tinted(shown: Picture, sides: Sides, cell: float) -> Picture:
    """A picture with tints, its cells `cell` pixels a side, and a line around what is marked."""
    height, width = shown.shape[:2]
    rows, columns = (
        np.minimum((np.arange(length) / cell).astype(int), count - 1)
        for length, count in zip((height, width), sides.shape, strict=True)
    )
    spread = sides[rows][:, columns]
    opacity = OPACITY * np.abs(spread)
    marked = np.abs(spread) == 1
    for axis in (0, 1):
        changes = np.diff(marked, axis=axis, prepend=np.take(marked, [0], axis)) != 0
        for shift in range(_OUTLINE):
            opacity[np.roll(changes, shift, axis)] = 1.0
    tint = np.where(spread[..., np.newaxis] < 0, FEWER, MORE)
    mixed = shown + opacity[..., np.newaxis] * (tint - shown.astype(np.float32))
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)


def drawn(picture: Picture, sides: Sides, share: float, legend: Legend) -> bytes:
    """A PNG of a map over its picture, at least 768 pixels long, with a legend below.

    share: the side of a cell, of the picture's long side. legend: texts, each with the mark that it
    explains (-1..1), or None.
    """
    picture = fit(picture, LONGEST, LONGEST)
    height, width = picture.shape[:2]
    if max(height, width) < SHORTEST:
        picture = scale(picture, *fitted(width, height, SHORTEST))
    shown = tinted(picture, sides, share * max(picture.shape[:2]))
    image = Image.fromarray(shown)
    lines = _legend(legend, image.width)
    sheet = Image.new("RGB", (image.width, image.height + lines.height), "white")
    sheet.paste(image, (0, 0))
    sheet.paste(lines, (0, image.height))
    return _file(sheet)


def png(picture: Picture) -> bytes:
    """A picture u8 [H, W] or [H, W, 3] as a PNG file, which says that it is a map."""
    return _file(Image.fromarray(picture))


def _legend(pieces: Legend, width: int) -> Image.Image:
    font = ImageFont.load_default(_TEXT)
    widths = [int(font.getlength(text)) + (0 if side is None else 36) for side, text in pieces]
    places, x, y = [], _EDGE, 0
    for wide in widths:
        if x > _EDGE and x + wide > width:
            x, y = _EDGE, y + _LINE
        places.append((x, y))
        x += wide + 2 * _EDGE
    image = Image.new("RGB", (width, y + _LINE), "white")
    canvas = ImageDraw.Draw(image)
    for (side, text), (left, top) in zip(pieces, places, strict=True):
        if side is not None:
            box = (left, top + 12, left + 26, top + _LINE - 12)
            canvas.rectangle(box, fill=_swatch(side), outline=(150, 150, 150))
            left += 36
        canvas.text((left, top + _LINE // 2), text, _INK, font, anchor="lm")
    return image


def _swatch(side: float) -> tuple[int, ...]:
    """A tint as it looks over light grey."""
    tint = MORE if side > 0 else FEWER
    share = OPACITY * abs(side)
    return tuple(round(225 + share * (value - 225)) for value in tint)


def _file(image: Image.Image) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", MAP_MARK)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=notes)
    return file.getvalue()
