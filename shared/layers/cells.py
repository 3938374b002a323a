"""Which cells of a picture are meant: squares of 16, 32 or 64 pixels, in a few bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import EnhancementCells, StreamMalformed
from shared.level_map import CELLS, STRIDE, LevelMap, cell_shape, latent_shape

CELL: Final = 32
"""Pixels a side that cells usually have."""
_LEVELS: Final = 2
_STEP: Final = 30

Array = NDArray[Any]


@dataclass(frozen=True)
class Cells:
    """Cells of a picture. Raises EnhancementCells where none is chosen or their size is no such.

    chosen: bool [rows, columns], one for each cell that the picture has. cell: pixels a side.
    """

    chosen: Array
    cell: int = CELL

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            sizes = ", ".join(str(size) for size in CELLS)
            raise EnhancementCells(f"cells have {self.cell} pixels a side", hint=f"one of {sizes}")
        if not self.chosen.any():
            raise EnhancementCells("no cell is named", hint="name one at least")

    @classmethod
    def at(
        cls, places: Iterable[tuple[int, int]], width: int, height: int, cell: int = CELL
    ) -> Cells:
        """Cells by row and column, of a picture of that size in pixels.

        Raises EnhancementCells, also for one outside of the picture.
        """
        rows, columns = cell_shape(width, height, cell if cell in CELLS else CELL)
        chosen = np.zeros((rows, columns), bool)
        for row, column in places:
            if not (0 <= row < rows and 0 <= column < columns):
                raise EnhancementCells(
                    f"there is no cell in row {row}, column {column} of {width}x{height} pixels",
                    hint=f"the picture has {rows}x{columns} cells of {cell}",
                )
            chosen[row, column] = True
        return cls(chosen, cell)

    def mask(self, width: int, height: int) -> Array:
        """The latents in these cells, bool [h, w]. Raises EnhancementCells for another picture."""
        if self.chosen.shape != cell_shape(width, height, self.cell):
            rows, columns = self.chosen.shape
            raise EnhancementCells(
                f"{rows}x{columns} cells of {self.cell} pixels are not those of a picture of "
                f"{width}x{height}"
            )
        repeat = self.cell // STRIDE
        rows, columns = latent_shape(width, height)
        spread: Array = self.chosen.repeat(repeat, 0).repeat(repeat, 1)[:rows, :columns]
        return spread

    def encode(self) -> bytes:
        """Their payload: that of a level map of two levels and the usual step."""
        return LevelMap(self.chosen.astype(np.uint8), self.cell, _LEVELS, _STEP).encode()

    @classmethod
    def decode(cls, payload: bytes, width: int, height: int) -> Cells:
        """Read a payload for a picture of that size. Raises EnhancementCells where it is none."""
        try:
            plane = LevelMap.decode(payload, width, height)
        except StreamMalformed as error:
            raise EnhancementCells("what names the cells is not of this picture") from error
        if (plane.levels, plane.step) != (_LEVELS, _STEP):
            raise EnhancementCells("what names the cells has another form")
        return cls(plane.values.astype(bool), plane.cell)
