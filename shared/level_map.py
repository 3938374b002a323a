"""The level map: which cells of a picture get fewer bits, which more, and how that is coded.

A cell is a square of 16, 32 or 64 pixels. Its level moves the quality of its latents by steps:

    importance f32 --mu -+ k sigma--> levels u8 --+--> quality codes of the latents
                                                  `--> payload of the level map chunk

Payload: an ANS stream of the form (bits 0-1: log2(cell / 16); bits 2-3: two, three or five levels;
bits 4-7: the step in quarters of a quality), then of the cells, coarse to fine: every sixteenth
cell of every sixteenth row, then, four times, the cells diagonally between those that are there and
the cells straight between them. The coded neighbours of a cell pick the table that it is coded
under.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.bitstream import Bitstream
from shared.coding.byte_ans import ByteCoder, Table
from shared.coding.level_tables import ALONE, CHANCES, DIAGONAL, STRAIGHT
from shared.errors import StreamMalformed

STRIDE: Final = 16  # pixels of a latent
CELLS: Final = (16, 32, 64)
LEVELS: Final = (2, 3, 5)
OFFSETS: Final = {2: (-1, 1), 3: (-1, 0, 1), 5: (-2, -1, 0, 1, 2)}
"""By number of levels: how many steps from the base quality each is."""
THRESHOLDS: Final = {2: (1,), 3: (-1, 1), 5: (-2, -1, 1, 2)}
"""By number of levels: where the next begins, in k deviations from the mean importance."""
STEP_UNIT: Final = 5
MAX_STEP: Final = 75
MAX_CODE: Final = 180
USUAL_FORM: Final = 0x60  # cells of 16 pixels, two levels, step 30
AS_USUAL: Final[Table] = (252,)  # a bit of the form: eight of them take a fifth of one
COARSEST: Final = 16  # cells from one of the first pass to the next
FARTHEST: Final = 4  # cells; neighbours that are farther away are taken to be as far

Array = NDArray[Any]


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
        if self.step % STEP_UNIT or not 0 <= self.step <= MAX_STEP:
            raise StreamMalformed(
                f"the step is {self.step}: multiples of {STEP_UNIT} up to {MAX_STEP} are coded"
            )

    @property
    def offsets(self) -> Array:
        """Steps i32 [rows, columns] of each cell from the base quality."""
        return np.array(OFFSETS[self.levels], np.int32)[self.values]

    def codes(self, base: int, width: int, height: int) -> Array:
        """Quality codes i32 [h, w] of the latents of a picture of `width` x `height` pixels."""
        rows, columns = latent_shape(width, height)
        offsets = self.offsets * self.step
        repeat = self.cell // STRIDE
        spread = offsets.repeat(repeat, 0).repeat(repeat, 1)[:rows, :columns]
        return np.clip(base + spread, 0, MAX_CODE).astype(np.int32)

    def encode(self) -> bytes:
        """The payload of the level map chunk."""
        form = CELLS.index(self.cell) | LEVELS.index(self.levels) << 2
        form |= self.step // STEP_UNIT << 4
        values = self.values.astype(np.int32)
        coder = ByteCoder()
        for grid, places, tables in reversed(list(_passes(values, self.levels))):
            coder.push(grid[places].tolist(), tables)
        coder.push([(form ^ USUAL_FORM) >> bit & 1 ^ 1 for bit in range(8)], [AS_USUAL] * 8)
        return coder.payload()

    @classmethod
    def decode(cls, payload: bytes, width: int, height: int) -> LevelMap:
        """Read a payload for a picture of that size. Raises StreamMalformed where it is none."""
        try:
            coder = ByteCoder(payload)
        except ValueError as error:
            raise StreamMalformed(f"the level map is not an ANS stream: {error}") from error
        # What is as usual is coded as 1: an empty payload, which reads as zeros, is never written.
        as_usual = coder.pop([AS_USUAL] * 8)
        form = USUAL_FORM ^ sum((bit ^ 1) << place for place, bit in enumerate(as_usual))
        size, count = form & 3, form >> 2 & 3
        if size >= len(CELLS) or count >= len(LEVELS):
            raise StreamMalformed("the level map has cells of an unknown size or number of levels")
        cell, levels = CELLS[size], LEVELS[count]
        values = np.zeros(cell_shape(width, height, cell), np.int32)
        for grid, places, tables in _passes(values, levels):
            grid[places] = coder.pop(tables)
        if not coder.is_empty:
            raise StreamMalformed("the level map is longer than its cells")
        return cls(values.astype(np.uint8), cell, levels, (form >> 4) * STEP_UNIT)


def quantise_importance(importance: Array, levels: int = 3, k: float = 0.75) -> Array:
    """Levels u8 of an importance map f32 of any shape, by its own mean and deviation.

    Three levels: below mean - k deviations, above mean + k deviations, between (CoTAM, section
    4.1, k = 0.75). Five levels put a second threshold at twice the distance. Two levels know the
    upper threshold alone. Importance that is the same everywhere takes bits from no cell.
    """
    deviation = float(importance.std())
    if deviation <= 1e-6 * max(1e-12, float(np.abs(importance).max())):
        return np.full(importance.shape, levels // 2, np.uint8)
    score = (importance - float(importance.mean())) / deviation
    return np.digitize(score, k * np.array(THRESHOLDS[levels])).astype(np.uint8)


def latent_shape(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the latent of a picture."""
    return -(-height // STRIDE), -(-width // STRIDE)


def cell_shape(width: int, height: int, cell: int) -> tuple[int, int]:
    """Rows and columns of cells of `cell` pixels that cover a picture."""
    return -(-height // cell), -(-width // cell)


def flat_codes(base: int, width: int, height: int) -> Array:
    """Quality codes i32 [h, w] of a picture without a level map."""
    return np.full(latent_shape(width, height), base, np.int32)


def read_codes(stream: Bitstream) -> tuple[Array, LevelMap | None]:
    """Quality codes i32 [h, w] of a stream's latents, and the level map that they follow from.

    Raises StreamMalformed where the payload is no level map.
    """
    code, width, height = stream.quality_code, stream.width, stream.height
    if not stream.level_map:
        return flat_codes(code, width, height), None
    level_map = LevelMap.decode(stream.level_map, width, height)
    return level_map.codes(code, width, height), level_map


@cache
def _tables(levels: int) -> tuple[Table, ...]:
    """Tables of the contexts by their number, that of ALONE for those which cannot be."""
    chances = CHANCES[levels]
    tables = [chances[ALONE]] * (_number(ALONE) + 1)
    for context, table in chances.items():
        tables[_number(context)] = table
    return tuple(tables)


def _number(context: tuple[Any, Any, Any]) -> Any:
    where, second, third = context
    return 25 * where + 5 * second + third


def _passes(values: Array, levels: int) -> Iterator[tuple[Array, Array, list[Table]]]:
    """For each pass: a part of `values`, where in it the pass's cells are, and the table of each.

    The part is a view, the tables follow from `values` as it is when they are asked for.
    """
    tables, signs = _tables(levels), np.sign(OFFSETS[levels])
    grid = values[::COARSEST, ::COARSEST]
    yield grid, np.ones(grid.shape, bool), [tables[_number(ALONE)]] * grid.size
    distance = COARSEST // 2
    while distance:
        grid = values[::distance, ::distance]
        odd_rows, odd_columns = np.indices(grid.shape) % 2 == 1
        for where, places, near in (
            (DIAGONAL, odd_rows & odd_columns, ((-1, -1), (-1, 1), (1, -1), (1, 1))),
            (STRAIGHT, odd_rows != odd_columns, ((-1, 0), (1, 0), (0, -1), (0, 1))),
        ):
            known, below, above = (np.zeros(grid.shape, np.int32) for _ in range(3))
            padded = np.pad(grid, 1, constant_values=-1)
            for dy, dx in near:
                top, left = 1 + dy, 1 + dx
                window = padded[top : top + grid.shape[0], left : left + grid.shape[1]]
                inside = window >= 0
                known += inside
                below += inside & (signs[window] < 0)
                above += inside & (signs[window] > 0)
            if levels == 2:
                number = _number((where, min(distance, FARTHEST), above))
            else:
                most = np.maximum(known, 1)
                number = _number((where, 4 * below // most, 4 * above // most))
                number[known == 0] = _number(ALONE)
            yield grid, places, [tables[n] for n in number[places].tolist()]
        distance //= 2
