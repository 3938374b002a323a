"""Greedy generation of a batch whose rows end, stream and are cancelled independently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from cloud_server.inference.mllm.base import Answer, Finish, Question
from shared.errors import FieldInvalid


class _Row:
    """One answer as it grows."""

    def __init__(
        self, question: Question, asked: int, tokenizer: Any, ends: frozenset[int]
    ) -> None:
        self._question = question
        self._asked = asked
        self._tokenizer = tokenizer
        self._ends = ends
        self._sent = ""
        self.tokens: list[int] = []
        self.finish: Finish | None = None

    def push(self, token: int) -> None:
        if self.finish is not None:
            return
        stopped = self._question.stopped
        if token in self._ends or (stopped is not None and stopped()):
            self.finish = "stop"
        else:
            self.tokens.append(token)
            if len(self.tokens) >= self._question.max_new_tokens:
                self.finish = "length"
        self._send()
        if self.finish is not None and self._question.on_answer is not None:
            self._question.on_answer(self.answer())

    def answer(self) -> Answer:
        return Answer(self.text(), self._asked, len(self.tokens), self.finish or "length")

    def text(self) -> str:
        decoded: str = self._tokenizer.decode(self.tokens, skip_special_tokens=True)
        return decoded.strip()

    def _send(self) -> None:
        """Hand out what is new; half a character waits for its other bytes."""
        if self._question.on_text is None:
            return
        text = self.text()
        if self.finish is None and text.endswith("\ufffd"):
            return
        if text.startswith(self._sent) and text != self._sent:
            self._question.on_text(text[len(self._sent) :])
            self._sent = text


class _Rows(StoppingCriteria):
    """Feeds each new token to its row; a row that has ended is told so to `generate`."""

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            row.push(token)
        done = [row.finish is not None for row in self._rows]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


def generate(
    model: Any, tokenizer: Any, inputs: dict[str, Tensor], questions: Sequence[Question]
) -> list[Answer]:
    """Answers of a left-padded batch; `inputs` are those of `model.generate`."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    ends = frozenset([ends] if isinstance(ends, int) else ends or ())
    asked = inputs["attention_mask"].sum(dim=1).tolist()
    rows = [
        _Row(question, count, tokenizer, ends)
        for question, count in zip(questions, asked, strict=True)
    ]
    pad = tokenizer.pad_token_id
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(question.max_new_tokens for question in questions),
        eos_token_id=sorted(ends),
        pad_token_id=pad if pad is not None else min(ends, default=0),
    )
    stopping = StoppingCriteriaList([_Rows(rows)])
    model.generate(**inputs, generation_config=config, stopping_criteria=stopping)
    return [row.answer() for row in rows]


def check_room(prompt: str, tokenizer: Any, room: int) -> None:
    """Refuse control tokens, and more tokens than there is room for.

    A control token in a prompt would stand for a picture or end the user's turn. Raises
    FieldInvalid.
    """
    for token in tokenizer.all_special_tokens:
        if token and token in prompt:
            raise FieldInvalid(
                f"prompt holds {token!r}, a control token of the model", hint="leave it out"
            )
    count = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    if count > room:
        raise FieldInvalid(
            f"prompt has {count} tokens; beside the picture and max_new_tokens the model takes "
            f"{max(0, room)}",
            hint="ask a shorter question or for fewer new tokens",
        )
