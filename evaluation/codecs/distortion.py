"""How far a decoded picture is from its original."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim

LOW, HIGH = 0.05, 0.5
"""Bits per pixel between which codecs are compared."""

MIN_SIDE: Final = 161  # five scales of an 11x11 window


def psnr(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """PSNR in dB over all three channels of u8 [H, W, 3]; 100 where they are equal."""
    error = float(np.mean((original.astype(np.float64) - decoded.astype(np.float64)) ** 2))
    return 100.0 if error == 0 else 10 * math.log10(255**2 / error)


def ms_ssim_db(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """MS-SSIM of RGB u8 [H, W, 3] as -10 log10(1 - MS-SSIM), in which curves are about straight.

    nan where a side is under 161 pixels: the measure has five scales.
    """
    if min(original.shape[:2]) < MIN_SIDE:
        return math.nan
    planes = [
        torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))).unsqueeze(0).float()
        for p in (original, decoded)
    ]
    similarity = float(ms_ssim(*planes, data_range=255.0))
    return -10 * math.log10(max(1e-10, 1 - similarity))
