"""All questions of a picture in one pass of a LLaVA, graded exactly as greedy decoding would be.

    <head> <picture> | question 1, its right answer </s> | question 2, its right answer </s> | ...

A mask lets each question see the picture and itself alone, and positions start again after the
picture. An answer counts where each of its tokens, the end included, is the likeliest one given the
right tokens before it. Greedy decoding writes the right answer in exactly these cases: as long as
it has been right, it has been given the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoProcessor, LlavaForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import Turn
from cloud_server.inference.mllm.chat import prompt_text
from cloud_server.inference.mllm.image_text import ImageText
from scenes import Question
from shared.bundle import MLLM, Bundle
from shared.errors import UsageError
from shared.nets.processed import image_token


@dataclass(frozen=True)
class Grades:
    """Whether each answer is right, bool [B, Q], and the probability of the right one, [B, Q].

    sure: [B, Q], the probability of the least likely token that greedy decoding writes, up to the
    first one that is wrong. looked: [B, Q, N], attention to the picture as an answer begins.
    """

    right: NDArray[np.bool_]
    probable: NDArray[np.float32]
    sure: NDArray[np.float32]
    looked: NDArray[np.float32]


QuestionTokens = tuple[list[int], list[int]]
"""Tokens after the picture, and those of the right answer with its end."""


class PackedLlava:
    """The language model of a bundle behind the backend that the cloud uses."""

    def __init__(self, bundle: Bundle, adapters: Sequence[Bundle] = ()) -> None:
        """adapters: bundles whose adapter is for the same tower, beside the bundle's own."""
        if not bundle.has(MLLM):
            raise UsageError(
                f"the bundle {bundle.manifest.name} has no language model",
                hint="export it with --llava",
            )
        disable_progress_bar()
        folder = bundle.path(MLLM)
        self.processor = AutoProcessor.from_pretrained(folder)
        model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        )
        self.model: Any = model.eval()
        self.backend = ImageText(
            bundle.manifest.name, self.model, self.processor, [bundle, *adapters]
        )
        self._tokenizer = self.processor.tokenizer
        self._image = self._tokenizer.convert_tokens_to_ids(image_token(self.processor))
        self.head = self._split("")[0]

    def see(self, pictures: Sequence[Decoded]) -> Tensor:
        """Projected features [B, N, D] of pictures, by the cloud's backend."""
        return torch.stack([seen.content.features for seen in self.backend.see(pictures)])

    def ask(self, question: Question) -> QuestionTokens:
        """Tokens of a question as the cloud asks it, and of its answer."""
        head, tail = self._split(question.prompt)
        if head != self.head:
            raise UsageError("the model's template puts text of the question before the picture")
        answer = self._tokenizer(question.answer, add_special_tokens=False).input_ids
        return tail, [*answer, self._tokenizer.eos_token_id]

    @torch.inference_mode()
    def grade(self, features: Tensor, asked: Sequence[QuestionTokens]) -> Grades:
        """Grades of Q questions about pictures of features [B, N, D]."""
        prefix = len(self.head) + features.shape[1]
        ids: list[int] = []
        block, wanted = [0] * prefix, []
        for number, (question, answer) in enumerate(asked, start=1):
            first = prefix + len(ids) + len(question)
            wanted.append(range(first, first + len(answer)))
            ids += question + answer
            block += [number] * (len(question) + len(answer))
        embed = self.model.get_input_embeddings()
        words = embed(torch.tensor(self.head + ids)).expand(len(features), -1, -1)
        head, rest = words[:, : len(self.head)], words[:, len(self.head) :]
        places = torch.tensor([place for answer in wanted for place in answer])
        watch = self.backend.watch
        watch.at = [answer[0] - 1 for answer in wanted]
        logits = self.model(
            inputs_embeds=torch.cat([head, features, rest], dim=1),
            attention_mask=_mask(block).expand(len(features), -1, -1, -1),
            position_ids=_positions(block, prefix).expand(len(features), -1),
            logits_to_keep=places - 1,
        ).logits
        answers = torch.tensor(ids)[places - prefix]
        hits = logits.argmax(-1) == answers
        each = (
            logits.float().log_softmax(-1).gather(2, answers.expand(len(features), -1)[..., None])
        )
        attention, watch.at = watch.take(), (-1,)
        assert attention is not None
        looked = attention[..., len(self.head) : prefix]
        top = logits.float().softmax(-1).amax(-1)
        ends = np.cumsum([len(answer) for answer in wanted])[:-1].tolist()
        parts = zip(*(v.tensor_split(ends, dim=1) for v in (hits, each[..., 0])), strict=True)
        right, probable = zip(*((hit.all(1), log.sum(1).exp()) for hit, log in parts), strict=True)
        sure = [
            _sure(hit, most)
            for hit, most in zip(
                hits.tensor_split(ends, dim=1), top.tensor_split(ends, dim=1), strict=True
            )
        ]
        by_column = [torch.stack(each, 1).numpy() for each in (right, probable, sure)]
        return Grades(by_column[0], by_column[1], by_column[2], looked.numpy())

    def _split(self, prompt: str) -> tuple[list[int], list[int]]:
        """Tokens before and after the picture."""
        text = prompt_text(self.processor, [Turn("user", prompt, 1)])
        begins = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        ids = self._tokenizer(text, add_special_tokens=not begins).input_ids
        at = ids.index(self._image)
        return ids[:at], ids[at + 1 :]


def _sure(hits: Tensor, top: Tensor) -> Tensor:
    """The least of `top` [B, T] up to the first place that is no hit, [B]."""
    missed_before = (~hits).cumsum(1) - (~hits).int()
    return top.masked_fill(missed_before > 0, 1.0).amin(1)


def _mask(block: list[int]) -> Tensor:
    """bool [1, 1, T, T]: each place sees what is before it of the picture and of its own block."""
    number = torch.tensor(block)
    same = (number[:, None] == number[None, :]) | (number[None, :] == 0)
    return (same & torch.ones(len(block), len(block), dtype=torch.bool).tril())[None, None]


def _positions(block: list[int], prefix: int) -> Tensor:
    """i64 [1, T]: every question starts right after the picture."""
    positions, seen = [], {0: 0}
    for number in block:
        place = seen.get(number, prefix)
        positions.append(place)
        seen[number] = place + 1
    return torch.tensor(positions)[None]
