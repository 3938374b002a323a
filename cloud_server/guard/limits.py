"""Who may ask how often, and how many at once: refused before a byte of the body is read."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shared.errors import Overloaded, RateLimited

MOST_CALLERS: Final = 10_000


class RateLimit:
    """A token bucket for each caller: `burst` requests at once, refilled `per_minute`."""

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count a request. Raises RateLimited with the time after which the next one passes."""
        if not self._rate:
            return
        now = self._clock()
        level, since = self._buckets.pop(caller, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        allowed = level >= 1
        self._buckets[caller] = (level - 1 if allowed else level, now)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            error = RateLimited(f"more than {self._rate * 60:g} requests a minute")
            error.retry_after = (1 - level) / self._rate
            raise error


class Admission:
    """At most `most` requests inside at once: being read, queued or answered."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._seconds = 1.0
        self.inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place. Raises Overloaded with the time that a request takes at present."""
        if self.inside >= self._most:
            error = Overloaded(f"{self.inside} requests are being worked on")
            error.retry_after = self._seconds
            raise error
        self.inside += 1
        start = self._clock()
        try:
            yield
        finally:
            self.inside -= 1
            self._seconds += 0.1 * (self._clock() - start - self._seconds)
