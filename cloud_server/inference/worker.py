"""The one inference thread, and the queue in front of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol

from cloud_server.inference.work import Work
from shared.errors import UpstreamError

MOST_CRASHES: Final = 5


class Runner(Protocol):
    """What the thread runs: an `Engine`."""

    crashes: int

    def run(self, batch: list[Work]) -> None: ...

    def warm_up(self) -> None: ...


class Worker:
    """Runs works in batches of at most `max_batch`, on its own thread, in order of arrival.

    A batch is what has gathered while the one before it ran: nothing waits for company.
    After 5 crashes in a row the engine must prove itself on a request of its own; `on_dead` is
    called with what is wrong where it cannot, and where it raises by itself.
    """

    def __init__(
        self, engine: Runner, max_batch: int, on_dead: Callable[[Exception], None]
    ) -> None:
        self._engine = engine
        self._on_dead = on_dead
        self._since: float | None = None
        self._max_batch = max_batch
        self._waiting: deque[tuple[Work, Future[Work], float]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="inference", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Work]:
        """The future is done when `work` has its answer or error."""
        future: Future[Work] = Future()
        with self._changed:
            self._waiting.append((work, future, time.perf_counter()))
            self._changed.notify()
        return future

    def busy_for(self) -> float:
        """Seconds that the batch of this moment has been running."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _loop(self) -> None:
        while (batch := self._take()) is not None:
            if not batch:
                continue
            self._since = time.monotonic()
            try:
                self._engine.run([work for work, _ in batch])
            except Exception as error:  # a fault of the engine itself: its steps are guarded
                for work, _ in batch:
                    if work.answer is None and work.error is None:
                        work.error = UpstreamError("the service failed on this request")
                self._on_dead(error)
            self._since = None
            for work, future in batch:
                if not future.done():
                    future.set_result(work)
            if self._engine.crashes >= MOST_CRASHES:
                self._prove()

    def _prove(self) -> None:
        self._engine.crashes = 0
        try:
            self._engine.warm_up()
        except Exception as error:
            self._on_dead(error)

    def _take(self) -> list[tuple[Work, Future[Work]]] | None:
        """The next batch, less what was cancelled; None when the queue is empty and closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            count = min(len(self._waiting), self._max_batch)
            taken = [self._waiting.popleft() for _ in range(count)]
        # A future that was cancelled while it waited is not run.
        batch = []
        for work, future, came in taken:
            if future.set_running_or_notify_cancel():
                work.on_answer = partial(future.set_result, work)
                work.took("queue", came)
                batch.append((work, future))
        return batch
