"""Counting as a sum: how much of an object of each kind and of each colour a patch shows.

An object spreads its one over where it shows, so patches sum to a number. Which patch holds its
centre is a coin's toss near the border of two; how large a share a patch holds is not. A head of
the tower has the form of a projector, so a language model's projector can begin with its units and
keep densities as channels, and one head that looks everywhere alike adds them up.
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from scenes import COLOURS, KINDS

DENSITIES: Final = len(KINDS) + len(COLOURS)
"""Channels of a density: objects of each kind, then objects of each colour."""
UNITS: Final = 64
"""Of the head, and of a projector that begins with it."""
PATCH_WEIGHT: Final = 2.0
UNSEEN: Final = 0.5  # objects: beyond it they are unseen rather than miscounted


def density_loss(predicted: Tensor, density: Tensor) -> Tensor:
    """Mean over pictures of what is wrong with predicted densities, both f32 [B, DENSITIES, N].

    Squared errors of patches and of the numbers that they sum to, these only up to `UNSEEN`
    objects: small objects that nobody can see would outweigh all else.
    """
    patches = (predicted - density).square().sum(dim=(1, 2))
    numbers = F.huber_loss(predicted.sum(dim=2), density.sum(dim=2), reduction="none", delta=UNSEEN)
    # Twice Huber's, which halves the square.
    return (PATCH_WEIGHT * patches + 2.0 * numbers.sum(dim=1)).mean()


def density_head(width: int) -> nn.Sequential:
    """Densities [..., DENSITIES] from tokens [..., width], as a projector would tell them."""
    first, last = nn.Linear(width, UNITS), nn.Linear(UNITS, DENSITIES)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.GELU(), last)
