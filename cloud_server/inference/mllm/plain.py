"""Image-text models of transformers that take no features: the decoded picture, each time anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import GenerationRequest, Turn, VisualInput
from cloud_server.inference.mllm.chat import prompt_text
from cloud_server.inference.mllm.generation import (
    check_context,
    check_shown,
    generate,
    refuse_control_tokens,
)
from shared.nets.processed import image_token
from shared.schemas import View


class Plain:
    """`AutoModelForImageTextToText` and its processor as a Backend."""

    resolution = None
    see_clip = None

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name = name
        self._model = model
        self._processor = processor
        text = model.config.get_text_config()
        self._context = int(getattr(text, "max_position_embeddings", None) or 4096)

    def view(self, bundle_id: bytes) -> View:
        """Always the decoded picture."""
        return "picture"

    def check(self, turns: Sequence[Turn], max_new_tokens: int) -> None:
        """Raise FieldInvalid for control tokens, for more text than the context holds, and for
        more pictures than the template shows."""
        tokenizer = self._processor.tokenizer
        refuse_control_tokens((turn.text for turn in turns), tokenizer)
        text = prompt_text(self._processor, turns)
        pictures = sum(turn.pictures for turn in turns)
        if pictures > 1:  # one is shown by some processors without a word in the text
            check_shown(text.count(image_token(self._processor)), pictures)
        count = len(tokenizer(text, add_special_tokens=False).input_ids)
        check_context(count, max_new_tokens, self._context)

    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the picture: such models fuse text and picture in their own processor."""
        return [
            VisualInput("picture", Image.fromarray(picture.picture), picture.picture.nbytes)
            for picture in pictures
        ]

    @torch.inference_mode()
    def answer(self, requests: Sequence[GenerationRequest]) -> None:
        """Greedy answers; rows are padded on the left."""
        inputs = self._processor(
            text=[prompt_text(self._processor, request.turns) for request in requests],
            images=[[visual.content for visual in request.visuals] for request in requests],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self._model.device, self._model.dtype)
        generate(self._model, self._processor.tokenizer, dict(inputs), requests)
