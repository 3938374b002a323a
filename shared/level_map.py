"""The level map: which cells of a picture get fewer bits, which more, and how that is coded.

A cell is a square of 16, 32 or 64 pixels. Its level (0 .. levels - 1, the middle one is the base)
moves the quality of its latents by a step:

    importance f32 --mu -+ k sigma--> levels u8 --+--> quality codes of the latents
                                                  `--> payload of the level map chunk

Payload: one byte of form (bits 0-1: log2(cell / 16); bit 2: five levels; bits 3-7: half the step),
then an ANS stream of the cells in three passes: every second cell of every second row, the cells
diagonally between them, the rest. A cell is coded under a table that the mean level of its coded
neighbours picks. The tables are part of the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.ans import Table, open_coder
from shared.errors import StreamMalformed

STRIDE: Final = 16  # pixels of a latent
CELLS: Final = (16, 32, 64)
LEVELS: Final = (3, 5)
MAX_STEP: Final = 62
MAX_CODE: Final = 180

Array = NDArray[Any]

_NO_NEIGHBOUR: Final = {3: (168, 26, 62), 5: (2, 15, 196, 18, 25)}
_BY_MEAN: Final = {
    3: (
        (249, 3, 4),
        (197, 24, 35),
        (106, 63, 87),
        (48, 41, 167),
        (36, 18, 202),
    ),
    5: (
        (160, 70, 20, 4, 2),
        (100, 110, 40, 4, 2),
        (2, 231, 19, 2, 2),
        (2, 145, 96, 9, 4),
        (2, 7, 237, 6, 4),
        (2, 7, 190, 30, 27),
        (2, 5, 116, 52, 81),
        (2, 2, 47, 49, 156),
        (2, 2, 21, 25, 206),
    ),
}
"""Counts of the levels by the mean of the neighbours in half levels; each row sums to 256.

Three levels: measured on maps of validation scenes and crops of photographs, k = 0.25, cells of 16
and 32 pixels. Five levels: on 300 such maps with k = 0.75; the two rows that never occurred there
are set by hand.
"""


@dataclass(frozen=True)
class LevelMap:
    """Levels u8 [rows, columns] of cells of `cell` pixels; `step` in quality codes (1/20)."""

    values: Array
    cell: int = 32
    levels: int = 3
    step: int = 30

    def __post_init__(self) -> None:
        if self.cell not in CELLS or self.levels not in LEVELS:
            raise StreamMalformed(f"no level map has {self.levels} levels on {self.cell} pixels")
        if self.step % 2 or not 0 <= self.step <= MAX_STEP:
            raise StreamMalformed(f"the step is {self.step}: even numbers 0..{MAX_STEP} are coded")

    def codes(self, base: int, width: int, height: int) -> Array:
        """Quality codes i32 [h, w] of the latents of a picture of `width` x `height` pixels."""
        rows, columns = latent_shape(width, height)
        offsets = (self.values.astype(np.int32) - self.levels // 2) * self.step
        repeat = self.cell // STRIDE
        spread = offsets.repeat(repeat, 0).repeat(repeat, 1)[:rows, :columns]
        return np.clip(base + spread, 0, MAX_CODE).astype(np.int32)

    def encode(self) -> bytes:
        """The payload of the level map chunk."""
        form = CELLS.index(self.cell) | (self.levels == 5) << 2 | (self.step // 2) << 3
        values = self.values.astype(np.int32)
        coder = open_coder()
        for places, context in reversed(list(_passes(values, self.levels))):
            for row in range(_contexts(self.levels) - 1, -1, -1):
                chosen = values[places][context == row]
                if len(chosen):
                    coder.push(chosen, _table(self.levels, row))
        return bytes([form]) + coder.payload()

    @classmethod
    def decode(cls, payload: bytes, width: int, height: int) -> LevelMap:
        """Read a payload for a picture of that size. Raises StreamMalformed where it is none."""
        if not payload:
            raise StreamMalformed("the level map is empty")
        form = payload[0]
        if form & 3 >= len(CELLS):
            raise StreamMalformed("the level map has cells of an unknown size")
        cell, levels = CELLS[form & 3], LEVELS[form >> 2 & 1]
        values = np.zeros(cell_shape(width, height, cell), np.int32)
        try:
            coder = open_coder(payload[1:])
        except ValueError as error:
            raise StreamMalformed(f"the level map is not an ANS stream: {error}") from error
        for places, context in _passes(values, levels):
            decoded = np.zeros(len(context), np.int32)
            for row in range(_contexts(levels)):
                chosen = context == row
                if chosen.any():
                    decoded[chosen] = coder.pop(_table(levels, row), int(chosen.sum()))
            values[places] = decoded
        if not coder.is_empty():
            raise StreamMalformed("the level map is longer than its cells")
        return cls(values.astype(np.uint8), cell, levels, (form >> 3) * 2)


def quantise_importance(importance: Array, levels: int = 3, k: float = 0.75) -> Array:
    """Levels u8 of an importance map f32 of any shape, by its own mean and deviation.

    Three levels: below mean - k deviations, above mean + k deviations, between (CoTAM, section
    4.1, k = 0.75). Five levels put a second threshold at twice the distance. A flat map is all
    base.
    """
    deviation = float(importance.std())
    base = levels // 2
    if deviation <= 1e-6 * max(1e-12, float(np.abs(importance).max())):
        return np.full(importance.shape, base, np.uint8)
    score = (importance - float(importance.mean())) / (k * deviation)
    steps: Array = np.sign(score) * np.minimum(np.floor(np.abs(score)), base)
    return (base + steps).astype(np.uint8)


def latent_shape(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the latent of a picture."""
    return -(-height // STRIDE), -(-width // STRIDE)


def cell_shape(width: int, height: int, cell: int) -> tuple[int, int]:
    """Rows and columns of cells of `cell` pixels that cover a picture."""
    return -(-height // cell), -(-width // cell)


def flat_codes(base: int, width: int, height: int) -> Array:
    """Quality codes i32 [h, w] of a picture without a level map."""
    return np.full(latent_shape(width, height), base, np.int32)


def _contexts(levels: int) -> int:
    return len(_BY_MEAN[levels]) + 1


@cache
def _table(levels: int, row: int) -> Table:
    """Table of a context: the last row is for cells without coded neighbours."""
    rows = (*_BY_MEAN[levels], _NO_NEIGHBOUR[levels])
    return Table(np.array(rows[row]))


def _passes(values: Array, levels: int) -> Any:
    """For each pass: where its cells are, and their contexts, read from `values` as it is then."""
    rows, columns = np.indices(values.shape)
    even_rows, even_columns = rows % 2 == 0, columns % 2 == 0
    for places, near in (
        (even_rows & even_columns, ()),
        (~even_rows & ~even_columns, ((-1, -1), (-1, 1), (1, -1), (1, 1))),
        (even_rows != even_columns, ((-1, 0), (1, 0), (0, -1), (0, 1))),
    ):
        total = np.zeros(values.shape, np.int32)
        count = np.zeros(values.shape, np.int32)
        padded = np.pad(values, 1)
        inside = np.pad(np.ones_like(values), 1)
        for dy, dx in near:
            window = np.s_[1 + dy : 1 + dy + values.shape[0], 1 + dx : 1 + dx + values.shape[1]]
            total += padded[window]
            count += inside[window]
        mean = (4 * total + count) // np.maximum(1, 2 * count)  # half levels, rounded
        context = np.where(count > 0, mean, _contexts(levels) - 1)
        yield places, context[places]
