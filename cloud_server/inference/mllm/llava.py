"""LLaVA through transformers: its tower looks, its language model answers.

prompt --template, tokenizer--> embeddings, the picture's features in place of its token --> answer
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import GenerationRequest, Turn, VisualInput
from cloud_server.inference.mllm.chat import image_token, prompt_text
from cloud_server.inference.mllm.generation import (
    check_context,
    generate,
    refuse_control_tokens,
)
from cloud_server.inference.mllm.tower import Tower
from shared.bundle import Bundle
from shared.errors import FieldInvalid
from shared.schemas import View


class Llava:
    """`LlavaForConditionalGeneration` as a Backend."""

    resolution = None

    def __init__(self, name: str, model: Any, processor: Any, bundles: Iterable[Bundle]) -> None:
        self.name = name
        self.tower = Tower(model, processor, bundles)
        self._model = model
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._context = int(model.config.text_config.max_position_embeddings)

    def view(self, bundle_id: bytes) -> View:
        """Adapted latents where the bundle has an adapter for this very tower."""
        return self.tower.view(bundle_id)

    def check(self, prompt: str, max_new_tokens: int, history: Sequence[Turn] = ()) -> None:
        """Raise FieldInvalid for control tokens and for more text than the context holds."""
        refuse_control_tokens([prompt, *(turn.text for turn in history)], self._tokenizer)
        count = len(self._ids(prompt, history)) - 1 + self.tower.grid**2
        check_context(count, max_new_tokens, self._context)

    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the projected features [N, D] of the picture."""
        return self.tower.see(pictures)

    @torch.inference_mode()
    def answer(self, requests: Sequence[GenerationRequest]) -> None:
        """Greedy answers; rows are padded on the left."""
        rows = [self._embed(request) for request in requests]
        ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
        inputs = {
            "inputs_embeds": pad_sequence(rows, batch_first=True, padding_side="left"),
            "attention_mask": pad_sequence(ones, batch_first=True, padding_side="left"),
        }
        generate(self._model, self._tokenizer, inputs, requests)

    def _ids(self, prompt: str, history: Sequence[Turn]) -> list[int]:
        """Token ids with one image token."""
        text = prompt_text(self._processor, prompt, history)
        # A template may write the first token itself; the tokenizer must not do it again.
        begins = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        ids: list[int] = self._tokenizer(text, add_special_tokens=not begins).input_ids
        return ids

    def _embed(self, request: GenerationRequest) -> Tensor:
        """Embeddings [T, D] of a prompt, the image token replaced by the picture's features."""
        ids = self._ids(request.prompt, request.history)
        mark = self._tokenizer.convert_tokens_to_ids(image_token(self._processor))
        if ids.count(mark) != 1:
            raise FieldInvalid("prompt does not fit the model's template: it changes its pictures")
        at = ids.index(mark)
        embed = self._model.get_input_embeddings()
        words = embed(torch.tensor(ids, device=self.tower.device))
        features = request.visual.content.to(words.dtype)
        return torch.cat([words[:at], features, words[at + 1 :]])
