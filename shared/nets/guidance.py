"""Importance of patches: mean [CLS] attention of the first blocks of a CLIP vision tower.

CoTAM, section 4.1: attention of the first three layers is broad screening, and the mean over them
is the importance map; deeper attention makes a worse one.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import UsageError
from shared.nets.vision import Vision


class Guidance(nn.Module):
    """An open_clip `VisionTransformer`, run only as far as the last block whose attention counts.

        picture [B, 3, S, S] 0..1 -> patch embedding -> block 0 .. n - 1 -> map [B, S/p, S/p]

    `layers` are block numbers from 0; `mean` and `deviation` normalise the three channels.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        visual: Any,
        mean: Sequence[float],
        deviation: Sequence[float],
        layers: Sequence[int] = (0, 1, 2),
    ) -> None:
        super().__init__()
        self.visual: Any = visual
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


def cls_attention(block: Any, x: Tensor) -> Tensor:
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
    attended: Tensor = scores.softmax(dim=-1).mean(dim=1)
    return attended[:, 0, 1:]


class TowerGuidance(nn.Module):
    """The same of a tower of transformers, of which it holds the first layers.

        picture [B, 3, S, S] 0..1 -> patch embeddings -> layer 0 .. 2 -> map [B, grid, grid]

    Attention of [CLS], or the mean attention that a patch receives where there is no such token.
    `vision` has views of a fixed square, S = grid * patch: CLIP's, SigLIP's or InternViT's.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, vision: Vision, layers: int = 3) -> None:
        super().__init__()
        if vision.grid is None:
            raise UsageError("guidance is made of towers of a fixed square")
        tower = vision.tower
        stack = getattr(tower.encoder, "layers", None) or tower.encoder.layer
        self.embeddings = vision.embeddings
        self.enter = getattr(tower, "pre_layrnorm", nn.Identity())
        self.layers = nn.ModuleList(stack[:layers])
        # Some layers want to be told that nothing is masked.
        takes = inspect.signature(type(stack[0]).forward).parameters
        self.masks = (None,) if "attention_mask" in takes else ()
        self.heads, self.leading, self.grid = vision.heads, vision.leading, vision.grid
        self.side = vision.grid * vision.patch
        images = vision.processor.image_processor
        self.register_buffer("mean", torch.tensor(images.image_mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(images.image_std).view(1, 3, 1, 1))
        self.to(vision.device)

    def forward(self, picture: Tensor) -> Tensor:
        """Importance f32 [B, grid, grid] of pictures [B, 3, S, S]; each map sums to at most 1."""
        pixels = ((picture - self.mean) / self.deviation).to(self.embeddings_dtype)
        x = self.enter(self.embeddings(pixels))
        total = torch.zeros(())
        for number, layer in enumerate(self.layers):
            total = total + self._attention(layer, x)
            if number + 1 < len(self.layers):
                x = layer(x, *self.masks)
        return (total / len(self.layers)).float().reshape(-1, self.grid, self.grid)

    @property
    def embeddings_dtype(self) -> torch.dtype:
        """Of the tower's weights."""
        weight: Tensor = next(self.embeddings.parameters())
        return weight.dtype

    def _attention(self, layer: Any, x: Tensor) -> Tensor:
        """Attention [B, grid * grid] of [CLS] to the patches, or what each receives of all."""
        normed = getattr(layer, "layer_norm1", None) or layer.layernorm_before
        attention = getattr(layer, "self_attn", None) or layer.attention
        x = normed(x)
        asking = x[:, : self.leading] if self.leading else x
        query, key = attention.q_proj(asking), attention.k_proj(x)
        query = getattr(attention, "q_norm", nn.Identity())(query)
        key = getattr(attention, "k_norm", nn.Identity())(key)
        query, key = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (query, key))
        scores: Tensor = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5)
        return scores.float().softmax(dim=-1).mean(dim=(1, 2))[:, self.leading :]
