"""Teach words where to look: attention from the words of a question to the patches that show them.

A small language model needs many thousand steps before a word finds its patches by the loss of the
answers alone. The truth is known here: in the first layers, half of the heads are asked to put the
attention of each word for a kind or a colour on the patches of that kind or colour.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from scenes import COLOURS, KINDS
from scenes.world import PLURALS

LAYERS = 2
LABELS = {
    "kind": [[kind, PLURALS[kind]] for kind in KINDS],
    "colour": [[colour] for colour in COLOURS],
}
"""Words for the classes 1, 2, ... of the patch labels of that name."""


class Grounding:
    """Listens to the first layers of a Llama; `loss` follows a forward pass."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
        self._class_of = {name: torch.zeros(len(tokenizer), dtype=torch.long) for name in LABELS}
        for name, words in LABELS.items():
            for number, forms in enumerate(words, start=1):
                self._class_of[name][tokenizer.convert_tokens_to_ids(forms)] = number
        self._image = model.config.image_token_index
        self._heard: list[tuple[nn.Module, Tensor, tuple[Tensor, Tensor]]] = []
        for layer in model.model.language_model.layers[:LAYERS]:
            layer.self_attn.register_forward_pre_hook(self._listen, with_kwargs=True)

    def loss(self, ids: Tensor, labels: dict[str, Tensor]) -> Tensor:
        """Mean negative log attention mass, over words that are in the picture.

        ids: [B, T]; labels: patches by name, i64 [B, N], 0 for none.
        """
        image = ids[0] == self._image
        total, count = torch.zeros((), device=ids.device), 0
        for attention, states, (cos, sin) in self._heard:
            query, key = (
                project(states).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj)
            )
            query, key = apply_rotary_pos_emb(query, key, cos, sin)
            heads = query.shape[1] // 2
            scores = query[:, :heads].float() @ key[:, :heads, image].float().transpose(2, 3)
            share = (scores * attention.scaling).softmax(dim=-1)  # [B, heads, T, N]
            for name, class_of in self._class_of.items():
                word = class_of.to(ids.device)[ids]  # [B, T]
                wanted = (labels[name][:, None, :] == word[:, :, None]) & (word[:, :, None] > 0)
                row, place = wanted.any(-1).nonzero(as_tuple=True)
                mass = (share[row, :, place] * wanted[row, place, None]).sum(-1)
                total = total - (mass + 1e-4).log().mean(dim=1).sum()
                count += len(row)
        self._heard.clear()
        return total / max(1, count)

    def _listen(self, attention: nn.Module, positional: Any, named: dict[str, Any]) -> None:
        if attention.training:
            self._heard.append((attention, named["hidden_states"], named["position_embeddings"]))
