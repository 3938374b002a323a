"""The importance map as people look at it: colours over the picture."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_client.coding.guidance import Importance
from edge_client.pictures.images import Picture
from shared.level_map import LevelMap

RAMP: Final = ((24, 24, 96), (32, 128, 160), (240, 220, 60), (220, 40, 30))
"""From unimportant to important: blue, teal, yellow, red."""


def heat(picture: Picture, importance: Importance, cell: int) -> Picture:
    """Importance f32 [rows, columns] of cells of `cell` pixels, as colours over a grey picture."""
    spread = float(importance.max() - importance.min())
    shares = (importance - importance.min()) / spread if spread > 0 else np.zeros_like(importance)
    return _over(picture, _colours(_spread(shares, cell, picture.shape)))


def levels(picture: Picture, level_map: LevelMap) -> Picture:
    """The levels that are coded, as colours over a grey picture."""
    shares = level_map.values.astype(np.float32) / (level_map.levels - 1)
    return _over(picture, _colours(_spread(shares, level_map.cell, picture.shape)))


def png(picture: Picture) -> bytes:
    """A picture u8 [H, W] or [H, W, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _spread(shares: NDArray[Any], cell: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return shares.repeat(cell, 0).repeat(cell, 1)[: shape[0], : shape[1]]


def _colours(shares: NDArray[Any]) -> NDArray[Any]:
    stops = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(shares, stops, [colour[i] for colour in RAMP]) for i in range(3)]
    return np.stack(channels, axis=-1)


def _over(picture: Picture, colours: NDArray[Any]) -> Picture:
    grey = picture @ np.array([0.299, 0.587, 0.114])
    mixed: NDArray[Any] = 0.55 * grey[..., np.newaxis] + 0.45 * colours
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)
