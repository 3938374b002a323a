"""The entropy network in torch: trainable twin of the network in `shared.integer_network`.

Every value in it is a small integer held in a float32, every weight an integer times a power of
two, so the forward pass below is *exactly* what the integer network computes; gradients pass the
roundings straight through. With `quantised=False` the same weights run without rounding: the float
twin against which the cost of exactness is measured.

    z [B, Cz, h/4, w/4] --3x3--> 128 --1x1, shuffle--> 128 --1x1, shuffle--> 96 [B, 96, h, w] --+
    quality code [B, h, w] --tent over the 10 knots--> 10 ------------------------------------- +
                                                                                                |
    shared features 128 <------------------------------- 1x1 -----------------------------------+
      |--> anchors (i + j even):  1x1, 1x1 -> mean, scale index
      '--> others: with 4 neighbouring anchors (1x1 -> 64 each): 1x1, 1x1 -> mean, scale index

The two-pass checkerboard is He et al., "Checkerboard Context Model" (CVPR 2021), section 3.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.integer_network import (
    ACTIVATION_MAX,
    CONTEXT_LIMIT,
    KNOTS,
    MEAN_LIMIT,
    MEAN_UNIT,
    SCALES,
    WEIGHT_LIMIT,
)
from shared.symbol_coder import LOG_SCALE_MIN, LOG_SCALE_STEP

MAX_SHIFT = 16
BIAS_UNIT = 32.0
HIDDEN = {"hyper": 128, "hyper_out": 96, "features": 128, "context": 64, "head": 192}


def round_through(x: Tensor) -> Tensor:
    """Round half up; the gradient is the identity."""
    return x + (torch.floor(x + 0.5) - x).detach()


def tent(codes: Tensor) -> Tensor:
    """Weights of the 10 knots at quality codes [B, h, w] (0..180): [B, 10, h, w] in 0..1."""
    knots = torch.arange(KNOTS, device=codes.device, dtype=torch.float32).view(1, -1, 1, 1)
    return (1.0 - (codes.float().unsqueeze(1) / 20.0 - knots).abs()).clamp_min(0.0)


def anchor_mask(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """[h, w] bool, true where (row + column) is even: the latents of the first pass."""
    rows = torch.arange(height, device=device).view(-1, 1)
    columns = torch.arange(width, device=device).view(1, -1)
    return (rows + columns) % 2 == 0


class IntegerConv(nn.Module):
    """A convolution in integers: int8 weights, one power-of-two shift a channel, clipped output."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, low: int = 0, high: int = ACTIVATION_MAX
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.low, self.high = low, high
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / (inputs * kernel * kernel)))

    def shifts(self) -> Tensor:
        """[outputs] integers: the weight of a channel is its int8 times 2 ** -shift."""
        largest = self.weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(1e-8)
        return torch.floor(torch.log2(WEIGHT_LIMIT / largest)).clamp(0, MAX_SHIFT)

    def forward(self, x: Tensor, quantised: bool = True) -> Tensor:
        weight, bias = self.weight, self.bias * BIAS_UNIT
        if quantised:
            unit = torch.exp2(self.shifts())
            scaled = weight * unit.view(-1, 1, 1, 1)
            weight = round_through(scaled).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
            weight = weight / unit.view(-1, 1, 1, 1)
            bias = round_through(bias * unit) / unit
        out = F.conv2d(x, weight, bias, padding=self.weight.shape[-1] // 2)
        if quantised:
            out = round_through(out)
        return out.clamp(self.low, self.high)

    def export(self) -> dict[str, Tensor]:
        """For `entropy.npz`: weight [inputs * k * k, outputs], bias with the half, shift."""
        shift = self.shifts()
        unit = torch.exp2(shift)
        weight = torch.floor(self.weight.detach() * unit.view(-1, 1, 1, 1) + 0.5)
        weight = weight.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias = torch.floor(self.bias.detach() * BIAS_UNIT * unit + 0.5) + torch.floor(unit / 2)
        # Taps outside channels: the numpy side gathers the 3x3 neighbourhood tap by tap.
        matrix = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
        return {
            "weight": matrix.to(torch.int8),
            "bias": bias.to(torch.int32),
            "shift": shift.to(torch.int8),
        }


class EntropyNet(nn.Module):
    """Means and scales of the latents from the hyper latent, the quality and the first pass."""

    def __init__(self, latent_channels: int = 192, hyper_channels: int = 48) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.hyper_channels = hyper_channels
        hidden, out = HIDDEN["hyper"], HIDDEN["hyper_out"]
        features, context, head = HIDDEN["features"], HIDDEN["context"], HIDDEN["head"]
        self.hyper1 = IntegerConv(hyper_channels, hidden, 3)
        self.hyper2 = IntegerConv(hidden, hidden * 4)
        self.hyper3 = IntegerConv(hidden, out * 4)
        self.mix = IntegerConv(out + KNOTS, features)
        self.anchor1 = IntegerConv(features, head)
        self.anchor_mean = IntegerConv(head, latent_channels, 1, -MEAN_LIMIT, MEAN_LIMIT)
        self.anchor_scale = IntegerConv(head, latent_channels, 1, 0, SCALES - 1)
        self.context = IntegerConv(latent_channels, context)
        self.other1 = IntegerConv(features + 4 * context, head)
        self.other_mean = IntegerConv(head, latent_channels, 1, -MEAN_LIMIT, MEAN_LIMIT)
        self.other_scale = IntegerConv(head, latent_channels, 1, 0, SCALES - 1)
        with torch.no_grad():
            # Hyper latents are a few units, activations tens: bring the first to the second.
            self.hyper1.weight.mul_(12.0)
            self.context.weight.mul_(8.0)
            for layer in (self.anchor_mean, self.other_mean):
                layer.weight.mul_(0.05)
            for layer in (self.anchor_scale, self.other_scale):
                layer.weight.mul_(0.2)
                layer.bias.fill_(20.0 / BIAS_UNIT)

    def features(self, z: Tensor, codes: Tensor, quantised: bool = True) -> Tensor:
        """Shared features [B, 128, h, w] of z [B, Cz, >=h/4, >=w/4] and codes [B, h, w]."""
        x = self.hyper1(z.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT), quantised)
        x = F.pixel_shuffle(self.hyper2(x, quantised), 2)
        x = F.pixel_shuffle(self.hyper3(x, quantised), 2)
        x = x[..., : codes.shape[-2], : codes.shape[-1]]
        return self.mix(torch.cat([x, tent(codes) * 240.0], dim=1), quantised)

    def anchors(self, features: Tensor, quantised: bool = True) -> tuple[Tensor, Tensor]:
        """Mean (latent units) and scale index, [B, C, h, w] each, valid at the anchors."""
        x = self.anchor1(features, quantised)
        return self.anchor_mean(x, quantised) / MEAN_UNIT, self.anchor_scale(x, quantised)

    def others(
        self, features: Tensor, decoded: Tensor, quantised: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The same for the second pass; `decoded` [B, C, h, w] holds the anchors, else zero."""
        half = decoded * 2.0
        near = (round_through(half) if quantised else half).clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)
        context = self.context(near, quantised)
        context = context * anchor_mask(*context.shape[-2:], device=context.device)
        up, down = F.pad(context, (0, 0, 1, -1)), F.pad(context, (0, 0, -1, 1))
        left, right = F.pad(context, (1, -1)), F.pad(context, (-1, 1))
        x = self.other1(torch.cat([features, up, down, left, right], dim=1), quantised)
        return self.other_mean(x, quantised) / MEAN_UNIT, self.other_scale(x, quantised)


def scales_of(index: Tensor) -> Tensor:
    """Standard deviation (latent units) of a scale index in 0..63."""
    return torch.exp(LOG_SCALE_MIN + LOG_SCALE_STEP * index)
