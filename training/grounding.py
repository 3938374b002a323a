"""Teach words where to look: attention from the words of a question to the patches that show them.

A small language model needs many thousand steps before a word finds its patches by the loss of the
answers alone; here the truth is known. Of some heads, attention among the patches and the first
token (a sink that says nothing) is asked to be:

    layers 1, 2, head 0   word of a kind or colour   on its patches; on the sink if there are none
    layers 1, 2, head 1   word of a kind             1 : 1 : .. : 3 on the n centres and the sink,
                                                     so that what arrives tells their number
    layers 3, 4, head 0   place before a character   on the patches that show that character
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from scenes import CHARACTERS, COLOURS, KINDS
from scenes.world import PLURALS

WORD_LAYERS: Final = 2
SINK_SHARE: Final = 3.0
LABELS: Final = {
    "kind": [[kind, PLURALS[kind]] for kind in KINDS],
    "colour": [[colour] for colour in COLOURS],
    "centre": [[kind, PLURALS[kind]] for kind in KINDS],
    "character": [[c.lower(), f"##{c.lower()}"] for c in CHARACTERS],
}
"""Tokens for the classes 1, 2, ... of the patch labels of that name."""


class Grounding:
    """Listens to the layers of a Llama of four; `loss` follows a forward pass in training."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
        self._class_of = {name: torch.zeros(len(tokenizer), dtype=torch.long) for name in LABELS}
        for name, words in LABELS.items():
            for number, forms in enumerate(words, start=1):
                self._class_of[name][tokenizer.convert_tokens_to_ids(forms)] = number
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._goes_on = torch.tensor([piece.startswith("##") for piece in pieces])
        self._image = model.config.image_token_index
        self._heard: list[tuple[nn.Module, Tensor, tuple[Tensor, Tensor]]] = []
        for layer in model.model.language_model.layers:
            layer.self_attn.register_forward_pre_hook(self._listen, with_kwargs=True)

    def loss(self, ids: Tensor, patches: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy over heads and words; ids [B, T], patches i64 [B, N] by name."""
        losses = []
        for number, heard in enumerate(self._heard):
            if number < WORD_LAYERS:
                share = self._shares(heard, ids, 2)
                for name in ("kind", "colour"):
                    losses.append(self._objects(share[:, 0], ids, patches, name))
                losses.append(self._counts(share[:, 1], ids, patches))
            else:
                losses.append(self._characters(self._shares(heard, ids, 1)[:, 0], ids, patches))
        self._heard.clear()
        return torch.cat(losses).mean()

    def _objects(self, share: Tensor, ids: Tensor, patches: dict[str, Tensor], name: str) -> Tensor:
        word = self._class_of[name].to(ids.device)[ids]
        row, place = (word > 0).nonzero(as_tuple=True)
        wanted = patches[name][row] == word[row, place, None]
        sink = ~wanted.any(dim=1, keepdim=True)
        mass = (share[row, place] * torch.cat([sink, wanted], dim=1)).sum(dim=1)
        return -(mass + 1e-4).log()

    def _counts(self, share: Tensor, ids: Tensor, patches: dict[str, Tensor]) -> Tensor:
        word = self._class_of["centre"].to(ids.device)[ids]
        row, place = (word > 0).nonzero(as_tuple=True)
        wanted = (patches["centre"][row] == word[row, place, None]).float()
        target = torch.cat([torch.full_like(wanted[:, :1], SINK_SHARE), wanted], dim=1)
        target = target / target.sum(dim=1, keepdim=True)
        distance = target * ((target + 1e-6).log() - (share[row, place] + 1e-6).log())
        return distance.sum(dim=1)

    def _characters(self, share: Tensor, ids: Tensor, patches: dict[str, Tensor]) -> Tensor:
        following = nn.functional.pad(ids[:, 1:], (0, 2))
        goes_on = self._goes_on.to(ids.device)
        # Numbers and words on signs have two characters or more; counts have one.
        printed = goes_on[following[:, :-1]] | goes_on[following[:, 1:]]
        printed = printed[:, : ids.shape[1]]
        word = self._class_of["character"].to(ids.device)[following[:, : ids.shape[1]]]
        wanted = (patches["character"][:, None, :] == word[:, :, None]) & (word > 0)[:, :, None]
        row, place = (printed & wanted.any(dim=2)).nonzero(as_tuple=True)
        mass = (share[row, place, 1:] * wanted[row, place]).sum(dim=1)
        return -(mass + 1e-4).log()

    def _shares(
        self, heard: tuple[nn.Module, Tensor, tuple[Tensor, Tensor]], ids: Tensor, heads: int
    ) -> Tensor:
        """Attention [B, heads, T, 1 + N] of the first heads to the first token and the patches."""
        attention, states, (cos, sin) = heard
        seen = ids[0] == self._image
        seen[0] = True
        query, key = (
            project(states).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        scores = query[:, :heads].float() @ key[:, :heads, seen].float().transpose(2, 3)
        return (scores * attention.scaling).softmax(dim=-1)

    def _listen(self, attention: nn.Module, positional: Any, named: dict[str, Any]) -> None:
        if attention.training:
            self._heard.append((attention, named["hidden_states"], named["position_embeddings"]))
