"""One job of the edge: a coded picture and what is asked of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from shared.errors import UsageError


@dataclass(frozen=True)
class Question:
    """A coded picture and what is asked of it.

    key: names this job for ever; a server that has answered it once need not do so again.
    """

    stream: bytes
    prompt: str
    max_new_tokens: int | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        check_prompt(self.prompt, self.max_new_tokens)


def check_prompt(prompt: str, max_new_tokens: int | None = None) -> None:
    """Raises UsageError for a question that no server takes."""
    from shared.schemas import MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS  # pydantic: 0.1 s

    if not prompt.strip():
        raise UsageError("the prompt is empty", hint='ask something: "how many cars?"')
    if not prompt.isascii() and prompt != prompt.encode(errors="replace").decode():
        raise UsageError("the prompt has characters that are no text")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise UsageError(
            f"the prompt has {len(prompt)} characters, over the limit of {MAX_PROMPT_CHARACTERS}",
            hint="shorten it",
        )
    if max_new_tokens is not None and not 1 <= max_new_tokens <= MAX_NEW_TOKENS:
        raise UsageError(f"the answer may have 1 to {MAX_NEW_TOKENS} tokens, not {max_new_tokens}")
