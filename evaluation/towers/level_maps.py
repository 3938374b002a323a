"""Ways to make a level map, to be compared: whose attention, how coarse, how many levels, how far.

[CLS] attention by layer [L, N] --mean of some layers--> importance --cells, thresholds--> level map
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edge_client.guidance.guide import pool
from edge_client.pictures.images import Picture
from evaluation.towers.attention import Tower
from shared.errors import UsageError
from shared.level_map import (
    LEVELS,
    MAX_STEP,
    STEP_UNIT,
    LevelMap,
    cell_shape,
    quantise_importance,
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Guiding:
    """layers: numbers from 1, whose attention is averaged. cell: pixels. step: in codes (1/20)."""

    layers: tuple[int, ...] = (1, 2, 3)
    cell: int = 32
    levels: int = 3
    k: float = 0.75
    step: int = 30

    def __str__(self) -> str:
        """Everything that its level map depends on: the name under which it is measured."""
        layers = ",".join(map(str, self.layers))
        return (
            f"layers {layers}; {self.cell} px; {self.levels} levels; k {self.k:g}; step {self.step}"
        )

    def level_map(self, attention: Array, picture: Picture) -> LevelMap:
        """The level map of a picture u8 [H, W, 3] that fills the tower's square.

        attention: f32 [L, rows, columns], of each layer.
        """
        height, width = picture.shape[:2]
        importance = attention[[layer - 1 for layer in self.layers]].mean(axis=0)
        cells = pool(importance, cell_shape(width, height, self.cell))
        levels = quantise_importance(cells, self.levels, self.k)
        return LevelMap(levels, self.cell, self.levels, self.step)


def attention_of(tower: Tower, picture: Picture) -> Array:
    """Mean [CLS] attention f32 [L, rows, columns] to the patches of a picture, by layer."""
    summary = tower(picture).summary
    assert summary is not None, "guidance needs a tower with [CLS]"
    return summary.reshape(-1, tower.grid, tower.grid).numpy()


def parse_guiding(text: str, usual: Guiding) -> Guiding:
    """`usual` with the settings in a text such as "cell=16 k=0.5". Raises UsageError."""
    kinds: dict[str, Any] = {
        "layers": lambda value: tuple(int(number) for number in value.split(",")),
        "cell": _one_of((16, 32)),
        "levels": _one_of(LEVELS),
        "k": float,
        "step": _one_of(range(0, MAX_STEP + 1, STEP_UNIT)),
    }
    try:
        pairs = (setting.split("=") for setting in text.split())
        return replace(usual, **{name: kinds[name](value) for name, value in pairs})
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"there is no level map {text!r}", hint=f"settings are {', '.join(kinds)}"
        ) from error


def _one_of(known: Collection[int]) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if number not in known:
            raise ValueError(f"{number} is none of {known}")
        return number

    return parse
