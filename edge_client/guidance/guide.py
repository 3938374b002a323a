"""Importance of the parts of a picture, by the first blocks of the bundle's CLIP tower."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_client.guidance.focus import SHOWN, Focus, Thing, focused, relevance
from edge_client.pictures.images import Picture, fitted, scale
from shared.bundle import Bundle, GuidanceSettings
from shared.level_map import LevelMap, cell_shape, quantise_importance
from shared.tiles import starts

GAIN: Final = "gain"
CELL_OF_LARGE: Final = 32  # pixels a side at least

Importance = NDArray[np.float32]


@dataclass(frozen=True)
class _Seen:
    """What the graph says of a picture: importance f32 [rows, columns] of its patches, what a level
    map is expected to gain, and how likely the patches show what is asked about, None where nothing
    is."""

    importance: Importance
    gain: float
    relevance: Importance | None


@dataclass(frozen=True)
class _Look:
    """A picture as the tower sees it whole: cells are of `cell` pixels; patches: the picture at the
    scale of its tiles, None where it needs none; things: what is asked about."""

    cell: int
    patches: Picture | None
    things: Sequence[Thing]
    seen: _Seen


class Guide:
    """Turns a picture into its level map.

    `session` is an onnxruntime session of guidance.onnx; `threads` tiles are looked at at a time.

        picture --scaled to the square-----------------> global map ---+
           `----scaled till a patch is a cell, cut----> tile maps -----(+)--> cells --> levels

    With a question, cells that do not show what it names get fewer bits where the graph has learnt
    its words. Tiles count only where the global map's patches are larger than cells: what is small
    in the picture is lost in it (CoTAM, on high resolution). Tiles of the picture as it is would
    see more than the cells can tell, and take most of the time of an encode.
    """

    def __init__(self, bundle: Bundle, session: Any, threads: int = 1) -> None:
        self._settings = bundle.manifest.guidance
        self._fill = bundle.manifest.tower.fill
        self._session = session
        self._threads = threads
        self._outputs = [output.name for output in session.get_outputs()]
        self.focus = Focus.of(session)

    def __call__(self, picture: Picture, question: str = "") -> tuple[Importance, LevelMap]:
        """Importance f32 [rows, columns] of the cells of a picture u8 [H, W, 3], and its levels."""
        return self._levels(picture, self._look(picture, question))

    def paying(self, picture: Picture, question: str = "") -> LevelMap | None:
        """The level map of a picture u8 [H, W, 3]; None where none is expected to pay.

        That is so where the graph says so (its output `gain`, if it has one), and where all cells
        have one level.
        """
        look = self._look(picture, question)
        if look.seen.gain <= 0:
            return None
        level_map = self._levels(picture, look)[1]
        return level_map if np.ptp(level_map.values) else None

    def _look(self, picture: Picture, question: str) -> _Look:
        things = self.focus.things(question) if self.focus is not None else ()
        cell = cell_of(self._settings, *picture.shape[:2])
        patches = shrink(picture, cell / self._settings.patch)
        in_tiles = max(patches.shape[:2]) > self._settings.side
        seen = self._global(patches if in_tiles else picture, things)
        return _Look(cell, patches if in_tiles else None, things, seen)

    def _levels(self, picture: Picture, look: _Look) -> tuple[Importance, LevelMap]:
        settings, shape = self._settings, cell_shape(picture.shape[1], picture.shape[0], look.cell)
        importance, relevance = pool(look.seen.importance, shape), look.seen.relevance
        relevance = None if relevance is None else pool(relevance, shape)
        if look.patches is not None:
            tiled = self._tiled(look.patches, look.things)
            importance = _of_mean_one(importance) + pool(tiled.importance, shape)
            if relevance is not None and tiled.relevance is not None:
                relevance = np.maximum(relevance, pool(tiled.relevance, shape))
        values = quantise_importance(importance, settings.levels, settings.k)
        level_map = LevelMap(values, look.cell, settings.levels, settings.step)
        return importance, level_map if relevance is None else focused(level_map, relevance)

    def _global(self, picture: Picture, things: Sequence[Thing]) -> _Seen:
        """What the graph says of the patches that a picture covers, seen whole.

        The picture lies in the top left corner of the tower's square, its long side filling it.
        """
        height, width = picture.shape[:2]
        width, height = fitted(width, height, self._settings.side)
        return self._see(scale(picture, width, height), things)

    def _tiled(self, picture: Picture, things: Sequence[Thing]) -> _Seen:
        """What the graph says of the patches of a picture, [rows, columns], seen in tiles: the mean
        of the importance in those that see a patch, the most of the relevance.

        Each tile's map has mean one: how tiles compare to each other, the global map knows.
        """
        side, patch = self._settings.side, self._settings.patch
        height, width = picture.shape[:2]
        total = np.zeros((-(-height // patch), -(-width // patch)), np.float32)
        count, most = np.zeros_like(total), np.zeros_like(total)
        corners = list(product(starts(height, side, patch), starts(width, side, patch)))
        tiles = (picture[top : top + side, left : left + side] for top, left in corners)
        # Tiles are small: they keep cores busier side by side than one after another.
        with ThreadPoolExecutor(self._threads) as pool:
            looks = pool.map(lambda tile: self._see(tile, things), tiles)
            for (top, left), seen in zip(corners, looks, strict=True):
                rows, columns = seen.importance.shape
                row, column = top // patch, left // patch
                place = np.s_[row : row + rows, column : column + columns]
                total[place] += _of_mean_one(seen.importance)
                count[place] += 1
                if seen.relevance is not None:
                    most[place] = np.maximum(most[place], seen.relevance)
        return _Seen(np.asarray(total / count), math.inf, most if things else None)

    def _see(self, picture: Picture, things: Sequence[Thing]) -> _Seen:
        """What the graph says of the patches of a picture that is at most as large as the square;
        of the gain, anything where it does not say."""
        side, patch = self._settings.side, self._settings.patch
        height, width = picture.shape[:2]
        square = np.empty((side, side, 3), np.uint8)
        square[:] = self._fill
        square[:height, :width] = picture
        planes = square.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
        wanted = [name for name in self._outputs if name != SHOWN or things]
        outputs = self._session.run(wanted, {"picture": planes})
        by_name = dict(zip(wanted, outputs, strict=True))
        covered = np.s_[: -(-height // patch), : -(-width // patch)]
        return _Seen(
            by_name[self._outputs[0]][0][covered],
            float(by_name[GAIN][0]) if GAIN in by_name else math.inf,
            relevance(by_name[SHOWN][0], things)[covered] if things else None,
        )


def cell_of(settings: GuidanceSettings, height: int, width: int) -> int:
    """Pixels a side of the cells of a picture.

    Where the tower does not see it whole they are not small: that would take four times the tiles.
    """
    whole = max(height, width) <= settings.side
    return settings.cell if whole else max(settings.cell, CELL_OF_LARGE)


def shrink(picture: Picture, factor: float) -> Picture:
    """The picture at 1 / factor of its size, rounded up; never larger than it is."""
    if factor <= 1:
        return picture
    if factor.is_integer():
        # Means of squares take a tenth of the time of a filter.
        return np.asarray(Image.fromarray(picture).reduce(int(factor)))
    height, width = picture.shape[:2]
    return scale(picture, math.ceil(width / factor), math.ceil(height / factor))


def _of_mean_one(values: Importance) -> Importance:
    mean = float(values.mean())
    return values / np.float32(mean) if mean > 0 else np.ones_like(values)


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
