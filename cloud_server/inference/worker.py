"""The one inference thread, and the queue in front of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from cloud_server.inference.work import Work
from shared.errors import UpstreamError
from shared.schemas import ModelInfo

MOST_CRASHES: Final = 5


class Runner(Protocol):
    """What the thread runs: an `Engine`."""

    crashes: int

    @property
    def device(self) -> object: ...

    def run(self, batch: list[Work]) -> None: ...

    def warm_up(self) -> None: ...

    def model(self) -> ModelInfo: ...


class Worker:
    """A Dispatcher: batches of at most `max_batch` on its own thread, in order of arrival.

    A batch is what has gathered while the one before it ran: nothing waits for company.
    After 5 crashes in a row the engine must prove itself on a request of its own; `on_dead` is
    called with what is wrong where it cannot, and where it raises by itself.
    """

    def __init__(
        self,
        load_engine: Callable[[], Runner],
        max_batch: int,
        on_dead: Callable[[Exception], None],
    ) -> None:
        self._load_engine = load_engine
        self._on_dead = on_dead
        self._since: float | None = None
        self._max_batch = max_batch
        self._waiting: deque[tuple[Work, float]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.place = ""

    def load(self) -> ModelInfo:
        """Load the engine, let it answer a request of its own, and start the thread."""
        engine = self._load_engine()
        engine.warm_up()
        self._thread = threading.Thread(
            target=self._loop, args=(engine,), name="inference", daemon=True
        )
        self._thread.start()
        self.place = str(engine.device)
        return engine.model()

    def submit(self, work: Work) -> None:
        """Queue a work."""
        with self._changed:
            self._waiting.append((work, time.perf_counter()))
            self._changed.notify()

    def cancel(self, work: Work) -> None:
        """Nothing: the engine asks the work whether it is stopped."""

    def busy_for(self) -> float:
        """Seconds that the batch of this moment has been running."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _loop(self, engine: Runner) -> None:
        while (batch := self._take()) is not None:
            self._since = time.monotonic()
            try:
                engine.run(batch)
            except Exception as error:  # a fault of the engine itself: its steps are guarded
                for work in batch:
                    work.finish(UpstreamError("the service failed on this request"))
                self._on_dead(error)
            self._since = None
            if engine.crashes >= MOST_CRASHES:
                self._prove(engine)

    def _prove(self, engine: Runner) -> None:
        engine.crashes = 0
        try:
            engine.warm_up()
        except Exception as error:
            self._on_dead(error)

    def _take(self) -> list[Work] | None:
        """The next batch; None when the queue is empty and closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            count = min(len(self._waiting), self._max_batch)
            taken = [self._waiting.popleft() for _ in range(count)]
        for work, came in taken:
            work.took("queue", came)
        return [work for work, _ in taken]
