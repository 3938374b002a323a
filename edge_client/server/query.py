"""What travels to the server: coded pictures and what is asked of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from shared.errors import UsageError
from shared.prompt import check_new_tokens, check_pictures, check_prompt

KEY_BYTES: Final = 12  # 16 characters: enough that no caller meets one of its own again


@dataclass(frozen=True)
class AskBack:
    """A wish to be asked for more of the picture where an answer is not sure enough.

    confidence: from which it is, 0..1. max_bytes: most of what is asked for, about. None: as the
    server thinks right. Raises UsageError outside.
    """

    confidence: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None and not 0 < self.confidence <= 1:
            raise UsageError(f"the wished confidence is {self.confidence:g}", hint="0 to 1")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise UsageError(f"{self.max_bytes} bytes hold no enhancement")


@dataclass(frozen=True)
class Query:
    """A coded picture and what is asked of it. Raises UsageError for what no server takes.

    others: streams of pictures that are shown after it, with the same question. ask_back: None for
    an answer at once. enhancement: what the server has asked for already, if it does so again.
    keep: of a clip, whether the server is to keep its last frame. continues: the id of the frame
    that the clip goes on from, empty for none.
    key: names this query for ever; a server that has answered it once need not do so again.
    """

    stream: bytes
    prompt: str
    max_new_tokens: int | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(KEY_BYTES))
    others: tuple[bytes, ...] = ()
    ask_back: AskBack | None = None
    enhancement: bytes = b""
    keep: bool = False
    continues: str = ""

    def __post_init__(self) -> None:
        check_asked(self.prompt, self.max_new_tokens)
        check_pictures(1 + len(self.others), UsageError)

    @property
    def streams(self) -> tuple[bytes, ...]:
        """Of all its pictures, in their order."""
        return (self.stream, *self.others)


def check_asked(prompt: str, max_new_tokens: int | None) -> None:
    """Raises UsageError for a question that no server takes."""
    check_prompt(prompt, UsageError)
    if max_new_tokens is not None:
        check_new_tokens(max_new_tokens, UsageError)
