"""Estimated bits of latents: CompressAI's Gaussian conditional, used by training alone."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    # CompressAI's dependencies compile helpers with TorchScript, which torch warns of.
    warnings.filterwarnings("ignore", ".*torch.jit", FutureWarning)
    from compressai.entropy_models import GaussianConditional


class Rate(nn.Module):
    """Bits of a latent under N(mean, scale) integrated over its unit bin.

    Training adds uniform noise in place of rounding (Balle et al. 2018, section 2); evaluation
    rounds the distance to the mean, which is what the coder codes.
    """

    def __init__(self, scale_bound: float = 0.05) -> None:
        super().__init__()
        self.conditional = GaussianConditional(None, scale_bound=scale_bound)

    def forward(self, latent: Tensor, scale: Tensor, mean: Tensor) -> Tensor:
        """Bits of each element, of the shape of `latent`."""
        _, likelihood = self.conditional(latent, scale, means=mean)
        return -torch.log2(likelihood)
