"""Which cells of a picture hold print, told from its latent."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.level_map import STRIDE, LevelMap

STEP: Final = 30  # quality codes: print that much finer than asked for, what is around it coarser


class PrintGuide:
    """Turns a latent into a level map that gives bits to print.

    `session` is an onnxruntime session of print.onnx:

        latent [1, C, h, w] --> print [1, h, w]: above 0 where a cell of 16 pixels holds print
                            `-> gain [1]: above 0 where a map is expected to pay
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, latent: NDArray[np.float32]) -> tuple[NDArray[np.float32], LevelMap | None]:
        """Of a latent f32 [C, h, w]: chances f32 [h, w] that its cells hold print, and the level
        map; None where none is expected to pay."""
        found, gain = self._session.run(
            ["print", "gain"], {"latent": np.ascontiguousarray(latent)[np.newaxis]}
        )
        logits = found[0]
        chances = np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)
        if gain[0] <= 0:
            return chances, None
        levels = (logits > 0).astype(np.uint8)
        return chances, LevelMap(levels, cell=STRIDE, levels=2, step=STEP)
