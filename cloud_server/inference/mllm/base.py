"""What a language model must do for the service: look at pictures, then answer about them.

    Decoded pictures --see--> VisualInput (kept for follow-up questions)
    frames of a clip, times --see_clip--> VisualInput, of a model that takes clips
    VisualInput, prompt --answer--> pieces of text and an Answer, into the AnswerSink of each

Both steps take a batch. Looking is apart from answering so that a picture that is asked about
again costs nothing, and so that each has its own time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import CotamError
from shared.schemas import View

if TYPE_CHECKING:
    from cloud_server.inference.decoder import Decoded

SeeClip = Callable[[Sequence["Decoded"], Sequence[float]], "VisualInput"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class VisualInput:
    """A picture as a backend keeps it: `content` is the backend's own, `size` its bytes.

    frames: of a clip that it stands for, 1 for a picture.
    """

    view: View
    content: Any
    size: int
    frames: int = 1


@dataclass(frozen=True)
class Answer:
    """finish: "length" where max_new_tokens ended it, as with OpenAI's `finish_reason`.

    sureness: probability 0..1 that the model gave to its words, None where it tells none. looked:
    f32 [h, w], how much of the attention with which it began its answer lay on each latent of the
    picture, None where that is not known.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Finish
    sureness: float | None = field(default=None, compare=False)
    looked: NDArray[np.float32] | None = field(default=None, compare=False)


class AnswerSink(Protocol):
    """Where an answer goes. Its methods are called on threads of the backend's."""

    @property
    def streams(self) -> bool:
        """Whether pieces are wanted; otherwise `text` need not be called."""
        ...

    def text(self, piece: str) -> None:
        """Take the next piece of the answer."""
        ...

    def finish(self, outcome: Answer | CotamError | None) -> None:
        """Take the whole, once, as soon as it is there: others of the batch may take longer.

        None where nothing was asked.
        """
        ...

    def stopped(self) -> bool:
        """Whether nobody waits any more; the answer may then end early."""
        ...


@dataclass(frozen=True)
class Turn:
    """What was said, by whom.

    pictures: how many pictures and clips came with it; they stand before its text. frames: of each
    of them, empty where all are pictures.
    """

    role: Literal["user", "assistant"]
    text: str
    pictures: int = 0
    frames: tuple[int, ...] = ()

    @property
    def shown(self) -> tuple[int, ...]:
        """How many frames each picture or clip has."""
        return self.frames or (1,) * self.pictures


def talk_of(prompt: str, history: Sequence[Turn], frames: Sequence[int]) -> list[Turn]:
    """The whole talk, the prompt last.

    frames: of the pictures and clips of all turns; those of no earlier one are the prompt's.
    """
    counts = [turn.pictures for turn in history]
    turns = [*history, Turn("user", prompt, len(frames) - sum(counts))]
    rest = iter(frames)
    return [replace(turn, frames=tuple(itertools.islice(rest, turn.pictures))) for turn in turns]


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt about one picture or more, and who gets the answer.

    visuals: in the order in which they are shown. history: earlier turns, the user's first and the
    assistant's last.
    """

    visuals: Sequence[VisualInput]
    prompt: str
    max_new_tokens: int
    sink: AnswerSink
    history: Sequence[Turn] = ()

    @property
    def turns(self) -> list[Turn]:
        """The whole talk, the prompt last."""
        return talk_of(self.prompt, self.history, [visual.frames for visual in self.visuals])


class Backend(Protocol):
    """A language model. Its methods are called from one thread at a time."""

    name: str

    @property
    def see_clip(self) -> SeeClip | None:
        """Looks at decoded frames of one clip and their times, in seconds since it began.

        None where frames are shown as pictures.
        """
        ...

    @property
    def resolution(self) -> int | None:
        """Long side in pixels that is worth sending; None: as the bundle says."""
        ...

    def view(self, bundle_id: bytes) -> View:
        """What the model sees of streams of that bundle."""
        ...

    def check(self, turns: Sequence[Turn], max_new_tokens: int) -> None:
        """Raise FieldInvalid for a talk that this model cannot take; the prompt comes last."""
        ...

    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """Look at decoded pictures; their latents, codes and level maps are there to be used."""
        ...

    def answer(self, requests: Sequence[GenerationRequest]) -> None:
        """Answer a batch, each as it would be answered alone, into its sink.

        What it raises is the fault of the batch: sinks that have their outcome keep it.
        """
        ...
