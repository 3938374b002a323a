"""Vision transformers of timm, as open_clip uses them for SigLIP and EVA, with their attention."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from shared.errors import UsageError


class TimmVision(nn.Module):
    """A timm trunk that is called like a vision model of transformers."""

    def __init__(self, trunk: Any, name: str) -> None:
        super().__init__()
        blocks = getattr(trunk, "blocks", None)
        attentions: list[Any] = [getattr(block, "attn", None) for block in blocks or ()]
        if not attentions or not all(hasattr(layer, "attn_drop") for layer in attentions):
            raise UsageError(
                f"the vision tower of {name} is no plain ViT: its attention is not seen"
            )
        for layer in attentions:
            layer.fused_attn = False  # the fused kernel keeps its attention to itself
        self.trunk = trunk
        self.config = SimpleNamespace(
            image_size=trunk.patch_embed.img_size,
            patch_size=trunk.patch_embed.patch_size,
            num_hidden_layers=len(attentions),
        )

    def forward(self, pixel_values: Tensor, **_: Any) -> SimpleNamespace:
        """Attention [B, heads, T, T] of each block, and tokens [B, T, D] before and after each."""
        states: list[Tensor] = []
        attentions: list[Tensor] = []
        blocks = self.trunk.blocks
        hooks = [blocks[0].register_forward_pre_hook(lambda _, x: states.append(x[0]))]
        for block in blocks:
            hooks.append(block.register_forward_hook(lambda _, x, y: states.append(y)))
            drop = block.attn.attn_drop
            hooks.append(drop.register_forward_hook(lambda _, x, y: attentions.append(y)))
        try:
            self.trunk.forward_features(pixel_values)
        finally:
            for hook in hooks:
                hook.remove()
        return SimpleNamespace(attentions=attentions, hidden_states=states)
