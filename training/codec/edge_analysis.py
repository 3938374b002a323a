"""The codec's analysis in the form in which onnxruntime runs it fastest on CPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.nets.codec import STRIDE, Analysis, Block

CENTRE, UNIT = 0.5, 255.0
PIXELS = 8  # a side, of what `Analysis.enter` sees as its channels


class EdgeAnalysis(nn.Module):
    """picture [B, 3, 16h, 16w] in 0..1 -> latent [B, C, h, w] in 8-bit units, as `Analysis` does.

    What surrounds the convolutions is part of their weights: centring, unit, pixel unshuffle.
    """

    def __init__(self, analysis: Analysis) -> None:
        super().__init__()
        weight = analysis.enter.weight
        patches = weight.reshape(weight.shape[0], 3, PIXELS, PIXELS)
        self.linear = _centred(UNIT * analysis.linear.weight, STRIDE)
        self.enter = _centred(patches, PIXELS, analysis.enter.get_parameter("bias"))
        self.blocks = nn.Sequential(*(_EdgeBlock(block) for block in analysis.blocks))
        leave = analysis.leave
        self.leave = _convolution(
            UNIT * leave.weight, UNIT * leave.get_parameter("bias"), leave.stride[0]
        )

    def forward(self, picture: Tensor) -> Tensor:
        latent: Tensor = self.linear(picture) + self.leave(self.blocks(self.enter(picture)))
        return latent


@torch.no_grad()
def undo(edge: EdgeAnalysis, analysis: Analysis) -> None:
    """Give `analysis`, of which `edge` was made, the weights of `edge` where they do not share."""
    analysis.linear.weight.copy_(edge.linear.weight / UNIT)
    analysis.enter.weight.copy_(edge.enter.weight.flatten(1)[:, :, None, None])
    bias = edge.enter.get_parameter("bias") + CENTRE * edge.enter.weight.sum(dim=(1, 2, 3))
    analysis.enter.get_parameter("bias").copy_(bias)
    for name in ("weight", "bias"):
        getattr(analysis.leave, name).copy_(getattr(edge.leave, name) / UNIT)
        for block, faster in zip(analysis.blocks, edge.blocks, strict=True):
            halves = [getattr(half, name) for half in (faster.value, faster.gate)]
            getattr(block.gate, name).copy_(torch.cat(halves))


class _EdgeBlock(nn.Module):
    """A `Block` whose value and gate have a convolution each: in 8 bits each then has its own
    range, the ReLU is the lower end of one, and their product needs no floats."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.mix_in, self.depthwise, self.mix_out = block.mix_in, block.depthwise, block.mix_out
        self.value, self.gate = (_convolution(w, b) for w, b in block.value_and_gate())
        self.down = block.down

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_out(self.depthwise(F.leaky_relu(self.mix_in(x), 0.1)))
        latent: Tensor = x + self.down(self.value(x) * F.relu(self.gate(x)))
        return latent


def _centred(weight: Tensor, stride: int, bias: Tensor | None = None) -> nn.Conv2d:
    """A convolution of a picture less its centre."""
    shift = -CENTRE * weight.sum(dim=(1, 2, 3))
    return _convolution(weight, shift if bias is None else bias + shift, stride)


def _convolution(weight: Tensor, bias: Tensor, stride: int = 1) -> nn.Conv2d:
    outputs, inputs, kernel, _ = weight.shape
    layer = nn.Conv2d(inputs, outputs, kernel, stride)
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.bias = nn.Parameter(bias.detach().clone())
    return layer
