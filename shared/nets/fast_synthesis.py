"""The codec's synthesis in the form in which torch restores pictures fastest; it does not train.

What is told apart here is memory, not arithmetic: channels last, value and gate of a block by a
convolution each, results written over what nobody reads any more. In float32 it gives what
`Synthesis` gives. The residual path may run in bfloat16: pixels then differ by a tenth of 1/255.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.nets.codec import STRIDE, Block, Synthesis
from shared.nets.entropy import tent

Precision = Literal["auto", "float32", "bfloat16"]

WITH_BFLOAT16: Final = ("avx512_bf16", "amx_bf16", "sve_bf16")
"""What a processor that multiplies in bfloat16 says of itself; others convert, and lose time."""


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """The form of the residual path's weights and values; "auto" asks the processor."""
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    quick = device.type == "cpu" and any(_capabilities().get(name) for name in WITH_BFLOAT16)
    return torch.bfloat16 if quick else torch.float32


def _capabilities() -> dict[str, bool]:
    # Where torch is too old to tell, all stays in float32.
    ask = getattr(torch.cpu, "get_capabilities", dict)
    return dict(ask())


class FastSynthesis(nn.Module):
    """latent f32 [B, C, h, w] in 8-bit units, codes [B, h, w] -> picture f32 [B, 3, 16h, 16w]."""

    def __init__(self, synthesis: Synthesis, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self.reach = synthesis.reach
        self.linear = nn.Buffer(synthesis.linear_weight())
        self.enter = _copied(synthesis.enter, dtype)
        self.blocks = nn.Sequential(*(_FastBlock(block, dtype) for block in synthesis.blocks))
        self.leave = _copied(synthesis.leave, dtype)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, latent: Tensor, codes: Tensor) -> Tensor:
        latent = (latent / 255.0).contiguous(memory_format=torch.channels_last)
        x = self.enter(torch.cat([latent, tent(codes)], dim=1).to(self.dtype))
        x = self.leave(self.blocks(F.pixel_shuffle(x, 2)))
        picture = F.pixel_shuffle(F.conv2d(latent, self.linear), STRIDE)
        return picture.add_(F.pixel_shuffle(x, STRIDE // 2)).add_(0.5)


class _FastBlock(nn.Module):
    """A `Block` that writes over its input."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        super().__init__()
        self.mix_in, self.depthwise, self.mix_out, self.down = (
            _copied(layer, dtype)
            for layer in (block.mix_in, block.depthwise, block.mix_out, block.down)
        )
        self.value, self.gate = (_convolution(w, b, dtype) for w, b in block.value_and_gate())

    def forward(self, x: Tensor) -> Tensor:
        x += self.mix_out(self.depthwise(F.leaky_relu_(self.mix_in(x), 0.1)))
        value: Tensor = self.value(x)
        value *= F.relu_(self.gate(x))
        x += self.down(value)
        return x


def _copied(layer: nn.Conv2d, dtype: torch.dtype) -> nn.Conv2d:
    return _convolution(layer.weight, layer.get_parameter("bias"), dtype, layer.groups)


def _convolution(weight: Tensor, bias: Tensor, dtype: torch.dtype, groups: int = 1) -> nn.Conv2d:
    """A convolution of its own weights, [outputs, inputs / groups, k, k] and [outputs]; it keeps
    the size of what it is given."""
    outputs, inputs, kernel, _ = weight.shape
    # On no device: weights that are replaced at once need no random start.
    layer = nn.Conv2d(
        inputs * groups, outputs, kernel, padding=kernel // 2, groups=groups, device="meta"
    )
    layer.weight = nn.Parameter(weight.detach().to(dtype, copy=True))
    layer.bias = nn.Parameter(bias.detach().to(dtype, copy=True))
    return layer
