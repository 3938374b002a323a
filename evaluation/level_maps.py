"""Ways to make a level map, to be compared: whose attention, how coarse, how many levels, how far.

[CLS] attention by layer [L, N] --mean of some layers--> importance --cells, thresholds--> level map
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_client.guidance import pool
from edge_client.images import Picture
from evaluation.towers import Tower
from shared.errors import UsageError
from shared.level_map import LevelMap, cell_shape, quantise_importance

FLOOR: Final = 1e-3  # of the mean importance: what is below is equal
Array = NDArray[Any]


@dataclass(frozen=True)
class Guiding:
    """layers: numbers from 1, whose attention is averaged. cell: pixels. step: in codes (1/20).

    scale: what is compared with k. "plain", the paper's: deviations from the mean importance.
    "ratio": octaves from the mean. "rank": deviations from the mean of ranks.
    """

    layers: tuple[int, ...] = (1, 2, 3)
    cell: Literal[16, 32] = 32
    levels: Literal[3, 5] = 3
    k: float = 0.75
    step: int = 30
    scale: Literal["plain", "ratio", "rank"] = "plain"

    def __str__(self) -> str:
        """Everything that its level map depends on: the name under which it is measured."""
        layers = ",".join(map(str, self.layers))
        return (
            f"layers {layers}; {self.cell} px; {self.levels} levels; k {self.k:g}; "
            f"step {self.step}; {self.scale}"
        )

    def level_map(self, attention: Array, picture: Picture) -> LevelMap:
        """The level map of a picture u8 [H, W, 3] that fills the tower's square.

        attention: f32 [L, rows, columns], of each layer.
        """
        height, width = picture.shape[:2]
        importance = attention[[layer - 1 for layer in self.layers]].mean(axis=0)
        cells = pool(importance, cell_shape(width, height, self.cell))
        return LevelMap(self._levels(cells), self.cell, self.levels, self.step)

    def _levels(self, cells: Array) -> Array:
        if self.scale == "ratio":
            mean = max(float(cells.mean()), 1e-12)
            score = np.log2(np.maximum(cells / mean, FLOOR)) / self.k
            base = self.levels // 2
            steps = np.sign(score) * np.minimum(np.floor(np.abs(score)), base)
            found: Array = (base + steps).astype(np.uint8)
            return found
        if self.scale == "rank":
            cells = np.argsort(np.argsort(cells, axis=None)).reshape(cells.shape)
        return quantise_importance(cells, self.levels, self.k)


def attention_of(tower: Tower, picture: Picture) -> Array:
    """Mean [CLS] attention f32 [L, rows, columns] to the patches of a picture, by layer."""
    summary = tower(picture).summary
    assert summary is not None, "guidance needs a tower with [CLS]"
    return summary.reshape(-1, tower.grid, tower.grid).numpy()


def parse_guiding(text: str, usual: Guiding) -> Guiding:
    """`usual` with the settings in a text such as "cell=16 k=0.5". Raises UsageError."""
    kinds: dict[str, Any] = {
        "layers": lambda value: tuple(int(number) for number in value.split(",")),
        "cell": int,
        "levels": int,
        "k": float,
        "step": int,
        "scale": str,
    }
    try:
        pairs = (setting.split("=") for setting in text.split())
        return replace(usual, **{name: kinds[name](value) for name, value in pairs})
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"there is no level map {text!r}", hint=f"settings are {', '.join(kinds)}"
        ) from error
