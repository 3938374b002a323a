"""The square on which CLIP's tower of the small models sees a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIDE = 256
PATCH = 16
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of CLIP's pictures (open_clip `OPENAI_DATASET_MEAN` and `_STD`)."""


class Pictured(Protocol):
    """What has a picture u8 [H, W, 3]."""

    @property
    def picture(self) -> NDArray[np.uint8]: ...


def pixels(samples: Sequence[Pictured]) -> Tensor:
    """f32 [B, 3, H, W] in 0..1 of equally large pictures."""
    stacked = np.stack([sample.picture for sample in samples])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div_(255.0)


def normalise(picture: Tensor) -> Tensor:
    """Pictures 0..1 as the tower takes them."""
    mean = torch.tensor(MEAN, device=picture.device).view(1, 3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=picture.device).view(1, 3, 1, 1)
    return (picture - mean) / deviation
