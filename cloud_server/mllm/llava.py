"""LLaVA through transformers, its vision tower fed with adapter tokens where there are any.

picture --square--> tower's embeddings --(+ adapter tokens)--> layers --projector--> features
prompt  --template, tokenizer--> embeddings, the features in place of the image token --> answer
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cloud_server.adapter import Adapters
from cloud_server.decoder import Decoded
from cloud_server.mllm.base import Answer, Question, Seen
from cloud_server.mllm.chat import image_token, prompt_text
from cloud_server.mllm.generation import check_prompt, generate
from shared.bundle import Bundle
from shared.errors import FieldInvalid
from shared.nets.adapter import place, place_picture, tower_fingerprint
from shared.schemas import View

TOWERS = ("clip_vision_model", "siglip_vision_model")
"""Vision towers of a fixed square, for which this backend is made."""


class Llava:
    """`LlavaForConditionalGeneration` as a Backend."""

    def __init__(self, name: str, model: Any, processor: Any, bundles: Iterable[Bundle]) -> None:
        self.name = name
        self._model = model
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._embeddings = _tower_embeddings(model.model.vision_tower)
        config = model.config.vision_config
        self._side = int(config.image_size)
        self._grid = self._side // int(config.patch_size)
        patch = self._embeddings.patch_embedding.weight
        positions = self._embeddings.position_embedding.weight
        self._dtype, self._device = patch.dtype, patch.device
        tower = tower_fingerprint(patch, positions)
        self._adapters = Adapters(bundles, tower, self._side, self._grid, self._device)
        images = processor.image_processor
        self._mean = torch.tensor(images.image_mean, device=self._device)
        self._deviation = torch.tensor(images.image_std, device=self._device)
        self._context = int(model.config.text_config.max_position_embeddings)

    def view(self, bundle_id: bytes) -> View:
        """Adapted latents where the bundle has an adapter for this very tower."""
        return "adapter" if bundle_id in self._adapters else "picture"

    def check(self, prompt: str, max_new_tokens: int) -> None:
        """Raise FieldInvalid for control tokens and for more text than the context holds."""
        template = len(self._ids("")) - 1
        room = self._context - template - self._grid**2 - 1 - max_new_tokens
        check_prompt(prompt, self._tokenizer, room)

    @torch.inference_mode()
    def see(self, pictures: Sequence[Decoded]) -> list[Seen]:
        """`content` is the projected features [N, D] of the picture."""
        squares = torch.stack([self._square(one) for one in pictures]).to(self._dtype)
        config = self._model.config
        with _added(self._embeddings, self._adapters.tokens(pictures)):
            features = self._model.model.get_image_features(
                pixel_values=squares,
                vision_feature_layer=config.vision_feature_layer,
                vision_feature_select_strategy=config.vision_feature_select_strategy,
            ).pooler_output
        return [
            Seen(self.view(picture.bundle_id), one, one.nbytes)
            for picture, one in zip(pictures, features, strict=True)
        ]

    @torch.inference_mode()
    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Greedy answers; rows are padded on the left."""
        rows = [self._embed(one.prompt, one.seen.content) for one in questions]
        ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
        inputs = {
            "inputs_embeds": pad_sequence(rows, batch_first=True, padding_side="left"),
            "attention_mask": pad_sequence(ones, batch_first=True, padding_side="left"),
        }
        return generate(self._model, self._tokenizer, inputs, questions)

    def _square(self, decoded: Decoded) -> Tensor:
        """Normalised pixels [3, side, side]: top left, the long side fills the square."""
        picture = torch.from_numpy(decoded.picture).to(self._device).permute(2, 0, 1).float()
        at = place(picture.shape[2], picture.shape[1], self._side)
        square = place_picture(picture / 255, at, self._mean)
        return (square - self._mean.view(3, 1, 1)) / self._deviation.view(3, 1, 1)

    def _ids(self, prompt: str) -> list[int]:
        """Token ids with one image token."""
        text = prompt_text(self._processor, prompt)
        # A template may write the first token itself; the tokenizer must not do it again.
        begins = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        ids: list[int] = self._tokenizer(text, add_special_tokens=not begins).input_ids
        return ids

    def _embed(self, prompt: str, features: Tensor) -> Tensor:
        """Embeddings [T, D] of a prompt, the image token replaced by the picture's features."""
        ids = self._ids(prompt)
        mark = self._tokenizer.convert_tokens_to_ids(image_token(self._processor))
        if ids.count(mark) != 1:
            raise FieldInvalid("prompt does not fit the model's template: it changes its pictures")
        at = ids.index(mark)
        embed = self._model.get_input_embeddings()
        words = embed(torch.tensor(ids, device=self._device))
        return torch.cat([words[:at], features.to(words.dtype), words[at + 1 :]])


def _tower_embeddings(tower: nn.Module) -> Any:
    """The module of a tower that holds its patch and position embeddings."""
    return next(
        module
        for module in tower.modules()
        if hasattr(module, "patch_embedding") and hasattr(module, "position_embedding")
    )


@contextmanager
def _added(embeddings: nn.Module, tokens: Tensor | None) -> Iterator[None]:
    """Add `tokens` to the output of the embeddings while the context lasts.

    The hook lives for one call and holds the tokens of one batch, so no other request can get them.
    """
    if tokens is None:
        yield
        return

    def add(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return output + tokens.to(output.dtype)

    handle = embeddings.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
