"""Greedy generation of a batch whose rows end, stream and are cancelled independently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from cloud_server.inference.mllm.base import Answer, Finish, GenerationRequest
from shared.errors import FieldInvalid

LookedOf = Callable[[], Sequence[NDArray[np.float32] | None]]
"""`Answer.looked` of each row, asked for when the first token is there."""


class _Row:
    """One answer as it grows."""

    def __init__(
        self, request: GenerationRequest, prompt_tokens: int, tokenizer: Any, ends: frozenset[int]
    ) -> None:
        self.sureness = 1.0
        self.looked: NDArray[np.float32] | None = None
        self._request = request
        self._prompt_tokens = prompt_tokens
        self._tokenizer = tokenizer
        self._ends = ends
        self._sent = ""
        self.tokens: list[int] = []
        self.finish: Finish | None = None

    def push(self, token: int) -> None:
        if self.finish is not None:
            return
        if token in self._ends or self._request.sink.stopped():
            self.finish = "stop"
        else:
            self.tokens.append(token)
            if len(self.tokens) >= self._request.max_new_tokens:
                self.finish = "length"
        self._send()
        if self.finish is not None:
            answer = Answer(
                self.text(),
                self._prompt_tokens,
                len(self.tokens),
                self.finish,
                self.sureness,
                self.looked,
            )
            self._request.sink.finish(answer)

    def likely(self, probability: float) -> None:
        """Take the probability of the token that comes next."""
        if self.finish is None:
            self.sureness = min(self.sureness, probability)

    def text(self) -> str:
        decoded: str = self._tokenizer.decode(self.tokens, skip_special_tokens=True)
        return decoded.strip()

    def _send(self) -> None:
        """Hand out what is new; half a character waits for its other bytes."""
        if not self._request.sink.streams:
            return
        text = self.text()
        if self.finish is None and text.endswith("\ufffd"):
            return
        if text.startswith(self._sent) and text != self._sent:
            self._request.sink.text(text[len(self._sent) :])
            self._sent = text


class _Probabilities(LogitsProcessor):
    """Tells each row how likely its next token is, and the first time where it looked."""

    def __init__(self, rows: list[_Row], looked_of: LookedOf | None) -> None:
        self._rows = rows
        self._looked_of = looked_of

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._looked_of is not None:
            for row, looked in zip(self._rows, self._looked_of(), strict=True):
                row.looked = looked
            self._looked_of = None
        likeliest = scores.float().softmax(-1).amax(-1)
        for row, probability in zip(self._rows, likeliest.tolist(), strict=True):
            row.likely(probability)
        return scores


class _Rows(StoppingCriteria):
    """Feeds each new token to its row; a row that has ended is told so to `generate`."""

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            row.push(token)
        finished = [row.finish is not None for row in self._rows]
        return torch.tensor(finished, dtype=torch.bool, device=input_ids.device)


def generate(
    model: Any,
    tokenizer: Any,
    inputs: dict[str, Tensor],
    requests: Sequence[GenerationRequest],
    looked_of: LookedOf | None = None,
) -> None:
    """Answer a left-padded batch; `inputs` are those of `model.generate`.

    An answer's sureness is the probability of its least likely token.
    """
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    ends = frozenset([ends] if isinstance(ends, int) else ends or ())
    prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
    rows = [
        _Row(request, count, tokenizer, ends)
        for request, count in zip(requests, prompt_tokens, strict=True)
    ]
    pad = tokenizer.pad_token_id
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(request.max_new_tokens for request in requests),
        eos_token_id=sorted(ends),
        pad_token_id=pad if pad is not None else min(ends, default=0),
    )
    model.generate(
        **inputs,
        generation_config=config,
        logits_processor=LogitsProcessorList([_Probabilities(rows, looked_of)]),
        stopping_criteria=StoppingCriteriaList([_Rows(rows)]),
    )


def refuse_control_tokens(texts: Iterable[str], tokenizer: Any) -> None:
    """Raise FieldInvalid where a text holds a control token.

    It would stand for a picture, or end the user's turn.
    """
    for text in texts:
        for token in tokenizer.all_special_tokens:
            if token and token in text:
                raise FieldInvalid(
                    f"prompt holds {token!r}, a control token of the model", hint="leave it out"
                )


def check_shown(shown: int, sent: int) -> None:
    """Raise FieldInvalid where a model's template shows more or fewer pictures than were sent."""
    if shown == sent:
        return
    if sent > 1:
        raise FieldInvalid(
            f"{sent} pictures came with the question, and the model's template shows {shown}",
            hint="ask about them one by one",
        )
    raise FieldInvalid("prompt does not fit the model's template: it changes its pictures")


def check_context(prompt_tokens: int, max_new_tokens: int, context: int) -> None:
    """Raise FieldInvalid where prompt and answer have more tokens than the context of a model."""
    if prompt_tokens + max_new_tokens > context:
        raise FieldInvalid(
            f"prompt and pictures have {prompt_tokens} tokens, and {max_new_tokens} new ones are "
            f"asked for; the model takes {context} together",
            hint="ask a shorter question, about fewer pictures, or for fewer new tokens",
        )
