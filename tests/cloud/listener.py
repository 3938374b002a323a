"""A sink for the tests: hears an answer as it grows."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from cloud_server.inference.mllm.base import Answer
from shared.errors import CotamError


class Listener:
    """An AnswerSink that keeps pieces and outcome, and can be told what to do."""

    streams = True

    def __init__(
        self,
        stopped: Callable[[], bool] = lambda: False,
        on_text: Callable[[], None] = lambda: None,
        on_finish: Callable[[], None] = lambda: None,
    ) -> None:
        self.stopped = stopped
        self._on_text, self._on_finish = on_text, on_finish
        self.pieces: list[str] = []
        self.outcome: Answer | CotamError | None = None
        self.finished = Event()

    def text(self, piece: str) -> None:
        self.pieces.append(piece)
        self._on_text()

    def finish(self, outcome: Answer | CotamError | None) -> None:
        self.outcome = outcome
        self.finished.set()
        self._on_finish()
