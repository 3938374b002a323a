"""The text that a model is asked with: its own chat template, or LLaVA's first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from cloud_server.inference.mllm.base import Turn
from shared.errors import FieldInvalid
from shared.nets.processed import image_token


def prompt_text(processor: Any, turns: Sequence[Turn]) -> str:
    """The turns of a talk, each after its pictures, open for the answer.

    Raises FieldInvalid where the model's template does not take such turns.
    """
    if not getattr(processor, "chat_template", None):
        return _vicuna(turns, image_token(processor))
    messages: list[dict[str, Any]] = [
        {
            "role": turn.role,
            "content": [
                *({"type": "image" if frames == 1 else "video"} for frames in turn.shown),
                {"type": "text", "text": turn.text},
            ],
        }
        for turn in turns
    ]
    try:
        text: str = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
    except TemplateError as error:
        raise FieldInvalid(
            f"the model's template does not take these turns: {error}", hint="send the last alone"
        ) from error
    return text


def _vicuna(turns: Sequence[Turn], image: str) -> str:
    """The form that LLaVA-1.5 was trained with."""
    text = ""
    for turn in turns:
        pictures = f"{image}\n" * turn.pictures
        text += (
            f"USER: {pictures}{turn.text} "
            if turn.role == "user"
            else f"ASSISTANT: {turn.text}</s>"
        )
    return f"{text}ASSISTANT:"
