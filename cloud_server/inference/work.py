"""What travels between the event loop and who computes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from cloud_server.inference.clip import ClipFrame
from cloud_server.inference.mllm.base import (
    Answer,
    AnswerSink,
    GenerationRequest,
    Turn,
    VisualInput,
    talk_of,
)
from shared.bitstream import Bitstream
from shared.errors import CotamError
from shared.layers.enhancement import Enhancement
from shared.schemas import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cloud_server.inference.decoder import Decoded, Latents
    from shared.clips.kept_frame import KeptFrame


class Nobody:
    """An AnswerSink where nobody listens."""

    streams = False

    def text(self, piece: str) -> None:
        """Nobody hears it."""

    def finish(self, outcome: Answer | CotamError | None) -> None:
        """The work has it."""

    def stopped(self) -> bool:
        """Never."""
        return False


NOBODY: Final = Nobody()


@dataclass
class Work:
    """One request: a stream, or a picture that has been seen before, and a question about it.

    It is the AnswerSink of its own answer: it keeps the outcome, then passes it on to `sink`.

    stream: of a picture, or a frame of a clip. original: an ordinary picture u8 [H, W, 3] in its
    place, seen as it is. prompt: None to look at the picture only. history: see
    `mllm.base.GenerationRequest`.
    enhancements: what continues the stream, in their order.
    others: works without a prompt that look at the pictures which are shown after this one's.
    keeps_visual: the finer picture is to be kept, so it travels back from where it was seen.
    frame: what a later clip may go on from, of a clip whose last frame is kept.
    keeps_decoded: leave `decoded` there after it has been looked at, for who shows the picture.
    text_sent: whether text has been passed on, which cannot be taken back.
    times: milliseconds; the time of a step that a batch shares is that of the batch.
    spans: when each step began and ended, in seconds of `time.perf_counter`.
    """

    stream: Bitstream | ClipFrame | None
    prompt: str | None = None
    max_new_tokens: int = 0
    history: tuple[Turn, ...] = ()
    others: tuple[Work, ...] = ()
    original: NDArray[np.uint8] | None = None
    visual: VisualInput | None = None
    latents: Latents | None = None
    decoded: Decoded | None = None
    frame: KeptFrame | None = None
    keeps_decoded: bool = False
    enhancements: tuple[Enhancement, ...] = ()
    keeps_visual: bool = False
    sink: AnswerSink = NOBODY
    answer: Answer | None = None
    error: CotamError | None = None
    finished: bool = False
    text_sent: bool = False
    generating_since: float | None = None
    batch: int = 0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    times: dict[str, float] = field(
        default_factory=lambda: {"queue": 0.0, "decode": 0.0, "vision": 0.0, "generate": 0.0}
    )

    def keep_frame(self) -> None:
        """Take the last frame of a clip out of what was decoded, where it is to be kept."""
        decoded = (self, *self.others)[-1].decoded
        if decoded is not None and decoded.frame is not None:
            self.frame = decoded.frame

    def took(self, step: str, begin: float) -> None:
        """Note that a step that began at `begin` ends now."""
        end = time.perf_counter()
        self.spans[step] = (begin, end)
        self.times[step] = 1000 * (end - begin)

    def turns(self, as_clips: bool = False) -> list[Turn]:
        """The whole talk, the prompt last; as_clips: as of `shown`."""
        assert self.prompt is not None
        frames = [
            len(run) if run[0].visual is None else run[0].visual.frames
            for run in self.shown(as_clips)
        ]
        shown = [1 if as_clips else len(run) for run in self.shown(as_clips=True)]
        return talk_of(self.prompt, self._earlier(shown), frames)

    def _earlier(self, shown: Sequence[int]) -> tuple[Turn, ...]:
        """The turns before the prompt, each with as many pictures as are shown of what it brought.

        shown: of each picture and clip that was sent.
        """
        rest = iter(shown)
        return tuple(
            replace(turn, pictures=sum(itertools.islice(rest, turn.pictures)))
            for turn in self.history
        )

    def shown(self, as_clips: bool) -> list[list[Work]]:
        """The works of what is shown, in its order.

        as_clips: all frames of a clip together, not each as a picture.
        """
        runs: list[list[Work]] = []
        for look in (self, *self.others):
            if as_clips and runs and _of_one_clip(runs[-1][-1], look):
                runs[-1].append(look)
            else:
                runs.append([look])
        return runs

    def request(self) -> GenerationRequest:
        """What a backend is asked, once the pictures have been looked at."""
        assert self.prompt is not None
        visuals = [work.visual for work in (self, *self.others) if work.visual is not None]
        assert sum(visual.frames for visual in visuals) >= 1 + len(self.others)
        runs = self.shown(as_clips=True)
        earlier = self._earlier([sum(work.visual is not None for work in run) for run in runs])
        return GenerationRequest(visuals, self.prompt, self.max_new_tokens, self, earlier)

    @property
    def streams(self) -> bool:
        """As the sink says."""
        return self.sink.streams

    def text(self, piece: str) -> None:
        """Pass a piece on."""
        self.text_sent = True
        self.sink.text(piece)

    def finish(self, outcome: Answer | CotamError | None) -> None:
        """Keep the outcome and pass it on. The first one counts."""
        if self.finished:
            return
        if self.generating_since is not None:
            self.took("generate", self.generating_since)
        if isinstance(outcome, CotamError):
            self.error = outcome
        else:
            self.answer = outcome
        self.finished = True
        self.sink.finish(outcome)

    def stopped(self) -> bool:
        """As the sink says."""
        return self.sink.stopped()


def _of_one_clip(work: Work, next_work: Work) -> bool:
    frames = work.stream, next_work.stream
    return (
        isinstance(frames[0], ClipFrame)
        and isinstance(frames[1], ClipFrame)
        and frames[0].clip is frames[1].clip
    )


class Dispatcher(Protocol):
    """Gets works done: by the inference thread of this process, or by replicas elsewhere.

    place: where, for the log; known once loaded.
    """

    place: str

    def load(self) -> ModelInfo:
        """Wait until works can be done; what will do them. Raises CotamError."""
        ...

    def submit(self, work: Work) -> None:
        """Have a work done; its sink hears of it."""
        ...

    def cancel(self, work: Work) -> None:
        """Nobody waits for this work any more."""
        ...

    def busy_for(self) -> float:
        """Seconds that the works of this moment have been computed."""
        ...

    def close(self) -> None:
        """Finish what waits, then end; a `load` that still runs ends soon."""
        ...
