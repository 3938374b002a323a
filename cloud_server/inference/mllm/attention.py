"""Where a language model looks as it begins its answer: attention of the last token of a prompt.

    layers --attention as ever------------------------> answer
      `------the row of the last token, once more-----> weights of all tokens before it

No pass is added: one row in hundreds is worked out a second time, in each layer. The layers of the
middle tell most of where something is (on validation scenes more than all together or the last).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

WATCHED: Final = "sdpa"
"""The implementation that can be watched, which is transformers' own choice where it can be had."""
NAME: Final = "cotam_watched"


class Watch:
    """Keeps what the last token of each prompt attended to, when the prompt was read last.

    at: which tokens are watched, the last one of each prompt unless it is set. sizes: i64 [B, S],
    how many tokens each of a prompt stands for, None where all are one. Watches and weighs nothing
    where the model's attention is of another implementation.
    """

    def __init__(self, model: Any) -> None:
        self.at: Sequence[int] = (-1,)
        self.sizes: Tensor | None = None
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

    @contextmanager
    def sized(self, sizes: Tensor | None) -> Iterator[None]:
        """Give tokens the attention of as many as they stand for while the context lasts."""
        self.sizes = sizes
        try:
            yield
        finally:
            self.sizes = None

    def see(self, layer: int, row: Tensor) -> None:
        """Take the attention f32 [B, heads, A, S] of a layer."""
        self._rows[layer] = row

    def take(self) -> Tensor | None:
        """Attention f32 [B, A, S] of the watched tokens, forgotten here; None where none came.

        The mean of the heads of the middle half of the layers.
        """
        rows, self._rows = self._rows, {}
        if not rows:
            return None
        layers = sorted(rows)
        middle = layers[len(layers) // 4 : len(layers) - len(layers) // 4]
        return torch.stack([rows[layer].mean(1) for layer in middle]).mean(0)


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
    if watch is not None and watch.sizes is not None:
        mask = _weighed(watch.sizes, query, key, mask)
    if watch is not None and query.shape[2] > 1:  # a prompt, not a word of an answer
        layer: Any = module.layer_idx
        watch.see(int(layer), _weights(watch.at, query, key, mask, options.get("scaling")))
    return sdpa_attention_forward(module, query, key, value, mask, **options)


def _weighed(sizes: Tensor, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """What is added to scores [B, 1, T, S] so that tokens get the attention of `sizes` [B, S']."""
    asking, length = query.shape[2], key.shape[2]
    more = sizes.clamp(min=1).log().to(query.dtype)
    added = F.pad(more, (0, length - more.shape[1]))[:, None, None]
    if mask is None:
        mask = torch.ones(asking, length, dtype=torch.bool, device=query.device)
        mask = mask.tril(length - asking)[None, None]
    mask = mask[..., :length]
    if mask.dtype == torch.bool:
        return torch.where(mask, added, torch.finfo(query.dtype).min)
    return mask + added


def _weights(
    at: Sequence[int], query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """Attention f32 [B, H, A, S] of A tokens."""
    chosen = query[:, :, list(at)].float()
    keys = key.float().repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = chosen @ keys.transpose(2, 3) * (scaling or chosen.shape[-1] ** -0.5)
    if mask is not None:
        seen = mask[:, :, list(at), : scores.shape[-1]]
        hidden = float("-inf")
        scores = scores.masked_fill(~seen, hidden) if seen.dtype == torch.bool else scores + seen
    return scores.softmax(-1)
