"""What would make an answer surer: a few cells of the picture, finer.

level map of the stream --+
                          +--> the cells that matter most --> Cells, for the edge to enhance
where the model looked ---+
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.layers.cells import Cells
from shared.level_map import STRIDE, LevelMap

QUALITY: Final = 5.0
"""Of the cells that are asked for. Chosen on validation scenes, as MOST_CELLS and the target of
`routes.forms`: `python -m evaluation ask_back`."""
MOST_CELLS: Final = 16
CELL: Final = STRIDE
BYTES_A_CELL: Final = 10
"""What a cell takes at that quality, about, to keep within a caller's most bytes."""
FRAME_BYTES: Final = 32


def cells_wanted(
    width: int,
    height: int,
    level_map: LevelMap | None,
    looked: NDArray[np.float32] | None,
    count: int = MOST_CELLS,
) -> Cells | None:
    """The `count` cells of a picture of that size whose finer forms tell most.

    level_map: of its stream. looked: f32 [h, w], as of `Answer`. None where nothing tells which,
    or none is to be had.
    """
    if count < 1 or (level_map is None and looked is None):
        return None
    chosen = np.zeros(_worth(width, height, level_map, looked).shape, bool)
    order = np.argsort(-_worth(width, height, level_map, looked), axis=None, kind="stable")
    chosen.flat[order[:count]] = True
    return Cells(chosen, CELL)


def most_cells(max_bytes: int | None) -> int:
    """How many cells an enhancement of about so many bytes holds, of those that are asked for."""
    if max_bytes is None:
        return MOST_CELLS
    return min(MOST_CELLS, (max_bytes - FRAME_BYTES) // BYTES_A_CELL)


def _worth(
    width: int, height: int, level_map: LevelMap | None, looked: NDArray[np.float32] | None
) -> NDArray[Any]:
    """How much each latent matters: its level, and among those of one level the attention."""
    if level_map is None:
        assert looked is not None
        return looked
    level = level_map.codes(0, width, height) / max(1, level_map.step)
    return level if looked is None else level + looked
