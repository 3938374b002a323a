"""The way of an answer from the thread that makes it to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress

from cloud_server.inference.mllm.base import Answer
from shared.errors import CotamError


class AsyncSink:
    """An AnswerSink whose pieces are read on the event loop on which it was made."""

    def __init__(self, streams: bool) -> None:
        self.streams = streams
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self._stop = threading.Event()

    def text(self, piece: str) -> None:
        """Take a piece, on any thread."""
        self._put(piece)

    def finish(self, outcome: Answer | CotamError | None) -> None:
        """End the pieces, on any thread; who reads them looks at the work for the outcome."""
        self._put(None)

    def stopped(self) -> bool:
        """Whether `stop` was called, on any thread."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stop.set()

    def fail(self, error: Exception) -> None:
        """Raise an error where the pieces are read."""
        self._put(error)

    async def pieces(self, until: float = float("inf")) -> AsyncGenerator[str, None]:
        """All pieces. Raises TimeoutError at `until` (loop time), and what `fail` is given."""
        while True:
            if self._queue.empty():
                left = max(0.0, until - self._loop.time())
                piece = await asyncio.wait_for(
                    self._queue.get(), None if left == float("inf") else left
                )
            else:
                piece = self._queue.get_nowait()
            if piece is None:
                return
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def _put(self, item: str | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it who would read
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
