"""Importance of patches: mean [CLS] attention of the first blocks of a CLIP vision tower.

CoTAM, section 4.1: attention of the first three layers is broad screening, and the mean over them
is the importance map; deeper attention makes a worse one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Guidance(nn.Module):
    """An open_clip `VisionTransformer`, run only as far as the last block whose attention counts.

        picture [B, 3, S, S] 0..1 -> patch embedding -> block 0 .. n - 1 -> map [B, S/p, S/p]

    `layers` are block numbers from 0; `mean` and `deviation` normalise the three channels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        visual: nn.Module,
        mean: Sequence[float],
        deviation: Sequence[float],
        layers: Sequence[int] = (0, 1, 2),
    ) -> None:
        super().__init__()
        self.visual = visual
        self.layers = tuple(sorted(layers))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, picture: Tensor) -> Tensor:
        """Importance f32 [B, S/p, S/p] of pictures [B, 3, S, S]; each map sums to at most 1."""
        x = self.visual._embeds((picture - self.mean) / self.deviation)
        total = torch.zeros(())
        for i, block in enumerate(self.visual.transformer.resblocks):
            if i in self.layers:
                total = total + cls_attention(block, x)
            if i == self.layers[-1]:
                break
            x = block(x)
        rows, columns = self.visual.grid_size
        return (total / len(self.layers)).reshape(-1, rows, columns)


def cls_attention(block: nn.Module, x: Tensor) -> Tensor:
    """Attention [B, N] of [CLS] to the N patches, mean over heads, in an open_clip block."""
    attention = block.attn
    batch, tokens, width = x.shape
    heads = attention.num_heads
    normed = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = nn.functional.linear(normed[:, :1], weight[:width], bias[:width])
    key = nn.functional.linear(normed, weight[width : 2 * width], bias[width : 2 * width])
    query = query.reshape(batch, 1, heads, -1).transpose(1, 2)
    key = key.reshape(batch, tokens, heads, -1).transpose(1, 2)
    scores = (query @ key.transpose(2, 3)) * (width // heads) ** -0.5
    return scores.softmax(dim=-1).mean(dim=1)[:, 0, 1:]
