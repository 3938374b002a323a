"""The text that a model is asked with: its own chat template, or LLaVA's first one."""

from __future__ import annotations

from typing import Any


def prompt_text(processor: Any, prompt: str) -> str:
    """One user turn with one picture and `prompt`, open for the answer."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        turns = [{"role": "user", "content": content}]
        text: str = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return text
    return f"USER: {image_token(processor)}\n{prompt} ASSISTANT:"


def image_token(processor: Any) -> str:
    """The token that stands for a picture in the text."""
    token = getattr(processor, "image_token", "<image>")
    return str(getattr(token, "content", token))
