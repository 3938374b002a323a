"""Latents that a reader has before a picture is coded, as training draws them.

Half are the same picture at a lower quality, which is continued: its hyper latent stands for the
own one. Half stand for the frame before: the same latents but for noise and for cells where there
was something else, coded at about the same quality.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.nets.codec import BeforeOf, Codec
from shared.nets.entropy import Before

STEPS_DOWN: Final = (15, 120)  # quality codes from a base to what continues it
NOISE: Final = 3.0  # at most, deviation in 8-bit units
MOVED: Final = (0.02, 0.5)  # share of the cells of a frame that changed
HOLES: Final = 0.2  # share of the draws in which a rectangle of nothing is there


def draw(
    codec: Codec, codes: Tensor, base: Tensor, rate: nn.Module, generator: torch.Generator
) -> BeforeOf:
    """What a reader may have before latents that are to be coded at these codes."""

    @torch.no_grad()
    def before(latent: Tensor) -> Before:
        make = _continued if _chance(generator) < 0.5 else _frame_before
        earlier = make(codec, latent, codes, base, rate, generator)
        if _chance(generator) < HOLES:
            rows = slice(0, int(_chance(generator) * codes.shape[1]))
            there = earlier.codes.clone()
            there[:, rows] = -1
            earlier = Before(earlier.values, there, earlier.hyper)
        return earlier

    return before


def _continued(
    codec: Codec,
    latent: Tensor,
    codes: Tensor,
    base: Tensor,
    rate: nn.Module,
    generator: torch.Generator,
) -> Before:
    down = torch.randint(*STEPS_DOWN, (len(codes),), generator=generator).to(codes.device)
    coarse = (codes - down.view(-1, 1, 1)).clamp_min(0)
    return codec.before(latent, coarse, (base - down).clamp_min(0), rate)


def _frame_before(
    codec: Codec,
    latent: Tensor,
    codes: Tensor,
    base: Tensor,
    rate: nn.Module,
    generator: torch.Generator,
) -> Before:
    count, _, rows, columns = latent.shape
    noise = NOISE * torch.rand(count, 1, 1, 1, generator=generator)
    other = latent + (noise * torch.randn(latent.shape, generator=generator)).to(latent.device)
    blobs = F.avg_pool2d(torch.randn(count, rows + 2, columns + 2, generator=generator), 3, 1)
    low, high = MOVED
    share = low + (high - low) * _chance(generator)
    moved = blobs > blobs.flatten(1).quantile(1.0 - share, dim=1).view(-1, 1, 1)
    other = torch.where(moved.unsqueeze(1).to(latent.device), latent.roll(1, 0), other)
    earlier = codec.before(other, codes, base, rate)
    # A frame has a hyper latent of its own, or none where little has changed.
    hyper = earlier.hyper if _chance(generator) < 0.5 else None
    return Before(earlier.values, earlier.codes, hyper)


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
