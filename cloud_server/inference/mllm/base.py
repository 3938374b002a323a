"""What a language model must do for the service: look at pictures, then answer about them.

    Decoded pictures --see--> Seen (kept for follow-up questions) --answer, with prompts--> Answers

Both steps take a batch. Looking is apart from answering so that a picture that is asked about
again costs nothing, and so that each has its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cloud_server.inference.decoder import Decoded
from shared.errors import CotamError
from shared.schemas import View

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Seen:
    """A picture as a backend keeps it: `content` is the backend's own, `size` its bytes."""

    view: View
    content: Any
    size: int


@dataclass(frozen=True)
class Answer:
    """finish: "length" where max_new_tokens ended it, as with OpenAI's `finish_reason`."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Finish


@dataclass(frozen=True)
class Question:
    """A prompt about a picture.

    on_text: called with each piece of the answer as it comes, on a thread of the backend's.
    on_answer: called with the answer as soon as it is whole, which may be before its batch is done.
    stopped: true when nobody waits any more; the backend ends this answer soon after.
    """

    seen: Seen
    prompt: str
    max_new_tokens: int
    on_text: Callable[[str], None] | None = None
    on_answer: Callable[[Answer], None] | None = None
    stopped: Callable[[], bool] | None = None


class Backend(Protocol):
    """A language model. Its methods are called from one thread at a time."""

    name: str

    def view(self, bundle_id: bytes) -> View:
        """What the model sees of streams of that bundle."""
        ...

    def check(self, prompt: str, max_new_tokens: int) -> None:
        """Raise FieldInvalid for a prompt that this model cannot take."""
        ...

    def see(self, pictures: Sequence[Decoded]) -> list[Seen]:
        """Look at decoded pictures; their latents, codes and level maps are there to be used."""
        ...

    def answer(self, questions: Sequence[Question]) -> Sequence[Answer | CotamError]:
        """Answer a batch, each as it would be answered alone; or the error of one."""
        ...
