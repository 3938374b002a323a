"""Counting as attention: how much of an object each patch holds, beside a sink of some objects.

An object spreads its one over where it shows, so patches sum to a number. Which patch holds its
centre is a coin's toss near the border of two; how large a share a patch holds is not.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

SINK_COUNT: Final = 3.0
COUNT_ERROR_WEIGHT: Final = 2.0
UNSEEN_ERROR: Final = 0.3  # of the logarithm: beyond it objects are unseen rather than miscounted


def density_losses(log_share: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """What attention that counts should not have: [W] divergence, [<= W] error of the number.

    log_share: logarithm [W, 1 + N] of attention to the sink, which stands for `SINK_COUNT` objects,
    and to the patches; it sums to 1. density: objects [W, N] on each patch.
    The second is the weighted error of the logarithm of the number, where there is one, squared
    up to `UNSEEN_ERROR`: the divergence alone hardly tells three objects from four.
    """
    target = F.pad(density, (1, 0), value=SINK_COUNT)
    target = target / target.sum(dim=1, keepdim=True)
    divergence = (torch.special.xlogy(target, target) - target * log_share).sum(dim=1)
    number = density.sum(dim=1)
    there = number > 0
    odds = log_share[there, 1:].logsumexp(dim=1) - log_share[there, 0]
    wanted = (number[there] / SINK_COUNT).log()
    # Twice Huber's, which halves the square.
    error = F.huber_loss(odds, wanted, reduction="none", delta=UNSEEN_ERROR)
    return divergence, 2.0 * COUNT_ERROR_WEIGHT * error
