"""At which qualities and level maps an adapter sees pictures, and how much each counts."""

from __future__ import annotations

import torch
from torch import Tensor

FALL = 75.0  # quality codes in which the high level loss falls to 1/e
HIGHEST_CODE = 140
STEPS = (20, 30, 40)
MAP_CELL, MAP_LEVELS, MAP_K = 16, 2, 0.0  # of level maps where no bundle tells: a new one's


def random_qualities(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Base codes and steps of the level map (0: none), i64 [count] each."""
    # Squared, so that low rates, where the adapter matters, are seen more often.
    base = torch.rand(count, generator=generator).square() * HIGHEST_CODE
    which = torch.randint(0, 1 + len(STEPS), (count,), generator=generator)
    return base.long(), torch.tensor((0, *STEPS))[which]


def balance(base: Tensor) -> Tensor:
    """Weights [B] of the losses at base codes [B], so that a tenth less counts alike at each.

    Their mean over `random_qualities` is 1.
    """
    codes = torch.linspace(0.0, 1.0, 1_000).square() * HIGHEST_CODE
    return torch.exp(base / FALL) / torch.exp(codes / FALL).mean().to(base.device)
