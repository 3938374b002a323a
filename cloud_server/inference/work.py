"""What travels between the event loop and the inference thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from shared.bitstream import Bitstream
from shared.errors import CotamError

if TYPE_CHECKING:
    from cloud_server.inference.decoder import Decoded, Latents
    from cloud_server.inference.mllm.base import Answer, Seen


@dataclass
class Work:
    """One request: a stream, or a picture that has been seen before, and a question about it.

    prompt: None to look at the picture only. on_text, stopped: see `mllm.base.Question`.
    on_answer: called once `answer` is there, on a thread of the backend's.
    keeps_decoded: leave `decoded` there after it has been looked at, for who shows the picture.
    begun: whether text has been handed out, which cannot be taken back.
    times: milliseconds; the time of a step that a batch shares is that of the batch.
    spans: when each step began and ended, in seconds of `time.perf_counter`.
    """

    stream: Bitstream | None
    prompt: str | None = None
    max_new_tokens: int = 0
    seen: Seen | None = None
    latents: Latents | None = None
    decoded: Decoded | None = None
    keeps_decoded: bool = False
    on_text: Callable[[str], object] | None = None
    on_answer: Callable[[], None] | None = None
    stopped: Callable[[], bool] | None = None
    answer: Answer | None = None
    error: CotamError | None = None
    begun: bool = False
    batch: int = 0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    times: dict[str, float] = field(
        default_factory=lambda: {"queue": 0.0, "decode": 0.0, "vision": 0.0, "generate": 0.0}
    )

    def took(self, step: str, begin: float) -> None:
        """Note that a step that began at `begin` ends now."""
        end = time.perf_counter()
        self.spans[step] = (begin, end)
        self.times[step] = 1000 * (end - begin)

    @property
    def say(self) -> Callable[[str], None] | None:
        """Hands text to `on_text` and notes that it did; None where nobody listens."""
        on_text = self.on_text
        if on_text is None:
            return None

        def noted(text: str) -> None:
            self.begun = True
            on_text(text)

        return noted


class Dispatcher(Protocol):
    """Gets works done: by the inference thread of this process, or by replicas elsewhere."""

    def submit(self, work: Work) -> Future[Work]:
        """The future is done when `work` has its answer or error."""
        ...

    def busy_for(self) -> float:
        """Seconds that the batch of this moment has been running."""
        ...

    def close(self) -> None:
        """Finish what waits, then end."""
        ...
