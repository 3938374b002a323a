"""Which cells of a picture hold print, told from its latent."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.level_map import STRIDE, LevelMap
from shared.tiles import Span, spans

STEP: Final = 30  # quality codes: print that much finer than asked for, what is around it coarser
BAND: Final = 32  # rows of latents that are looked at at a time: all of a large picture take much
MARGIN: Final = 2  # rows beyond its own on which a cell's answer depends


class PrintGuide:
    """Turns a latent into a level map that gives bits to print.

    `session` is an onnxruntime session of print.onnx:

        latent [1, C, h, w] --> print [1, h, w]: above 0 where a cell of 16 pixels holds print
                            `-> gain [1, h, w]: in sum above 0 where a map is expected to pay
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, latent: NDArray[np.float32]) -> tuple[NDArray[np.float32], LevelMap | None]:
        """Of a latent f32 [C, h, w]: chances f32 [h, w] that its cells hold print, and the level
        map; None where none is expected to pay."""
        bands = [self._band(latent, span) for span in spans(latent.shape[1], BAND, MARGIN)]
        logits, gain = (np.concatenate(rows) for rows in zip(*bands, strict=True))
        chances = np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)
        if gain.sum(dtype=np.float64) <= 0:
            return chances, None
        levels = (logits > 0).astype(np.uint8)
        return chances, LevelMap(levels, cell=STRIDE, levels=2, step=STEP)

    def _band(
        self, latent: NDArray[np.float32], span: Span
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both outputs, f32 [rows, w], of the rows between a span's start and stop."""
        seen = np.ascontiguousarray(latent[np.newaxis, :, span.low : span.high])
        own = slice(span.start - span.low, span.stop - span.low)
        logits, gain = self._session.run(["print", "gain"], {"latent": seen})
        return logits[0, own], gain[0, own]
