"""Where a language model looks as it begins its answer: attention of the last token of a prompt.

    layers --attention as ever------------------------> answer
      `------the row of the last token, once more-----> weights of all tokens before it

No pass is added: one row in hundreds is worked out a second time, in each layer.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

WATCHED: Final = "sdpa"
"""The implementation that can be watched, which is transformers' own choice where it can be had."""
NAME: Final = "cotam_watched"


class Watch:
    """Keeps what the last token of each prompt attended to, when the prompt was read last.

    Watches nothing where the model's attention is of another implementation.
    """

    def __init__(self, model: Any) -> None:
        self._rows: dict[int, Tensor] = {}
        if model.config.get_text_config()._attn_implementation != WATCHED:
            return
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation({"text_config": NAME})
        text = model.config.get_text_config()
        for module in model.modules():
            if getattr(module, "config", None) is text and hasattr(module, "layer_idx"):
                module.watch = self

    def see(self, layer: int, row: Tensor) -> None:
        """Take the attention f32 [B, heads, S] of a layer."""
        self._rows[layer] = row

    def take(self) -> Tensor | None:
        """Attention f32 [B, S], mean of heads and layers, forgotten here; None where none came."""
        rows, self._rows = self._rows, {}
        if not rows:
            return None
        return torch.stack([row.mean(1) for row in rows.values()]).mean(0)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention of query [B, H, T, d] and key [B, H', S, d], with `watch` told."""
    watch: Watch | None = getattr(module, "watch", None)
    if watch is not None and query.shape[2] > 1:  # a prompt, not a word of an answer
        layer: Any = module.layer_idx
        watch.see(int(layer), _last_row(query, key, mask, options.get("scaling")))
    return sdpa_attention_forward(module, query, key, value, mask, **options)


def _last_row(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    last = query[:, :, -1].float()
    keys = key.float().repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = torch.einsum("bhd,bhsd->bhs", last, keys) * (scaling or last.shape[-1] ** -0.5)
    if mask is not None:
        seen = mask[:, :, -1, : scores.shape[-1]]
        hidden = float("-inf")
        scores = scores.masked_fill(~seen, hidden) if seen.dtype == torch.bool else scores + seen
    return scores.softmax(-1)
