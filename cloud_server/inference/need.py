"""What would make an answer surer: a few cells of the picture, finer.

level map of the stream --+
                          +--> the cells that matter most --> Cells, for the edge to enhance
where the model looked ---+
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.bitstream import Bitstream
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.level_map import STRIDE, LevelMap, flat_codes, read_codes

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
    fine: NDArray[np.bool_] | None = None,
) -> Cells | None:
    """The `count` cells of a picture of that size whose finer forms tell most.

    level_map: of its stream. looked: f32 [h, w], as of `Answer`. fine: bool [h, w], cells that are
    as fine already. None where nothing tells which, or none is to be had.
    """
    if count < 1 or (level_map is None and looked is None):
        return None
    worth = _worth(width, height, level_map, looked)
    chosen = np.zeros(worth.shape, bool)
    order = np.argsort(-worth, axis=None, kind="stable")
    if fine is not None:
        order = order[~fine.flat[order]]
    if not len(order):
        return None
    chosen.flat[order[:count]] = True
    return Cells(chosen, CELL)


def fine_already(stream: Bitstream, enhancements: Iterable[Enhancement]) -> NDArray[np.bool_]:
    """Which latents of a picture, bool [h, w], have at least the quality that is asked for.

    Raises StreamMalformed or EnhancementCells for what is no map, or no cells, of the picture.
    """
    width, height, least = stream.width, stream.height, round(20 * QUALITY)
    codes, level_map = read_codes(stream)
    fine = codes >= least
    for enhancement in enhancements:
        made = flat_codes(enhancement.quality_code, width, height)
        if enhancement.cells:
            made = made * Cells.decode(enhancement.cells, width, height).mask(width, height)
        elif level_map is not None:
            made = level_map.codes(enhancement.quality_code, width, height)
        fine |= made >= least
    return fine


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
