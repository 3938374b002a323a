"""A name for the weights of a vision tower that survives a change of their precision.

A hash would not: float32 rounded to bfloat16 differs from float32 rounded to float16 and then to
bfloat16 in a few weights of a thousand. So each tensor is projected on fixed random signs; rounding
moves these projections by a part of a thousand of the tensor's size, training by more.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.tower import PROJECTIONS, write_fingerprint

PERIOD: Final = (
    65_521  # signs repeat after so many weights: a prime, so no layer's width divides it
)
FLOOR: Final = 1e-3  # weights far smaller than that, as keys' biases are, vanish in float16
SEED: Final = 0x70_3E_12


@torch.inference_mode()
def fingerprint_of(tower: nn.Module) -> str:
    """The fingerprint of a vision tower: of all its parameters but those of a pooling head.

    Every tensor counts alike, whatever its size.
    """
    projections = torch.zeros(PROJECTIONS, dtype=torch.float64)
    signs = _signs()
    counted = [p for name, p in tower.named_parameters() if "head" not in name.split(".")]
    for number, weight in enumerate(counted):
        flat = weight.detach().flatten().float()
        size = float(flat.norm()) + FLOOR * len(flat) ** 0.5
        folded = nn.functional.pad(flat, (0, -len(flat) % PERIOD)).view(-1, PERIOD).sum(0)
        # Signs are turned by the number of the tensor: two that change places give another name.
        turned = signs.roll(number * 1_009, dims=1).to(folded.device)
        projections += (turned @ folded).double().cpu() / size
    return write_fingerprint((projections / max(1, len(counted)) ** 0.5).tolist())


def _signs() -> Tensor:
    """-1 or 1, f32 [PROJECTIONS, PERIOD]; the raw bits of this generator never change."""
    words = np.random.PCG64(SEED).random_raw(PROJECTIONS * PERIOD // 64 + 1)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    signs = bits[: PROJECTIONS * PERIOD].reshape(PROJECTIONS, PERIOD).astype(np.float32)
    return torch.from_numpy(2 * signs - 1)
