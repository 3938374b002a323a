"""Importance of the parts of a picture, by the first blocks of the bundle's CLIP tower."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_client.images import Picture, fitted, scale
from shared.bundle import Bundle
from shared.level_map import LevelMap, cell_shape, quantise_importance

FILL: Final = np.round(255 * np.array((0.48145466, 0.4578275, 0.40821073))).astype(np.uint8)
"""CLIP's mean colour: what the cloud, too, puts beside a picture that is not square."""

Importance = NDArray[np.float32]


class Guide:
    """Turns a picture into its level map. `session` is an onnxruntime session of guidance.onnx."""

    def __init__(self, bundle: Bundle, session: Any) -> None:
        self._settings = bundle.manifest.guidance
        self._session = session

    def level_map(self, picture: Picture) -> LevelMap:
        """Levels of the cells of a picture u8 [H, W, 3]."""
        settings = self._settings
        height, width = picture.shape[:2]
        cells = pool(self.importance(picture), cell_shape(width, height, settings.cell))
        levels = quantise_importance(cells, settings.levels, settings.k)
        return LevelMap(levels, settings.cell, settings.levels, settings.step)

    def importance(self, picture: Picture) -> Importance:
        """Mean [CLS] attention f32 [rows, columns] of the patches that the picture covers.

        The picture lies in the top left corner of the tower's square, its long side filling it.
        """
        side, patch = self._settings.side, self._settings.patch
        height, width = picture.shape[:2]
        width, height = fitted(width, height, side)
        square = np.empty((side, side, 3), np.uint8)
        square[:] = FILL
        square[:height, :width] = scale(picture, width, height)
        planes = square.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
        found: Importance = self._session.run(None, {"picture": planes})[0][0]
        return found[: -(-height // patch), : -(-width // patch)]


def pool(values: Importance, shape: tuple[int, int]) -> Importance:
    """Mean of `values` over a grid of `shape` windows that cover it, overlapping where they must.

    Window i of n over m values reaches from floor(i * m / n) to ceil((i + 1) * m / n), as
    adaptive average pooling is defined in torch, which trained the adapter on such maps.
    """
    for axis, count in enumerate(shape):
        length = values.shape[axis]
        starts = np.arange(count) * length // count
        stops = -(-(np.arange(count) + 1) * length // count)
        sums = np.insert(np.cumsum(values, axis=axis, dtype=np.float64), 0, 0.0, axis=axis)
        total = np.take(sums, stops, axis=axis) - np.take(sums, starts, axis=axis)
        lengths = (stops - starts).reshape((-1, 1) if axis == 0 else (1, -1))
        values = (total / lengths).astype(np.float32)
    return values
