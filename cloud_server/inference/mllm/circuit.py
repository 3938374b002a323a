"""A circuit breaker: what keeps failing is left alone for a while instead of being asked again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.errors import UpstreamError


class Circuit:
    """Opens after `most` failures in a row, for `open_s`; then one request tries again."""

    def __init__(
        self, most: int = 5, open_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._open_s, self._clock = most, open_s, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0

    def check(self) -> None:
        """Raise UpstreamError with the time left while the circuit is open."""
        with self._lock:
            left = self._until - self._clock()
            if self._failures < self._most:
                return
            if left <= 0:
                self._until = self._clock() + self._open_s  # others wait for this one's outcome
                return
            error = UpstreamError(f"the model's server failed {self._failures} times in a row")
            error.retry_after = left
            raise error

    def succeeded(self) -> None:
        """Close the circuit."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """Count a failure."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._most:
                self._until = self._clock() + self._open_s
