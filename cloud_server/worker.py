"""The one inference thread, and the queue in front of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from cloud_server.work import Work


class Runner(Protocol):
    """What the thread runs: `Engine.run`."""

    def run(self, batch: list[Work]) -> None: ...


class Worker:
    """Runs works in batches of at most `max_batch`, on its own thread, in order of arrival.

    A batch is what has gathered while the one before it ran: nothing waits for company.
    """

    def __init__(self, engine: Runner, max_batch: int) -> None:
        self._engine = engine
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

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _loop(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._engine.run([work for work, _ in batch])
            for work, future in batch:
                future.set_result(work)

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
                work.times["queue"] = 1000 * (time.perf_counter() - came)
                batch.append((work, future))
        return batch
