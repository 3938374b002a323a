"""A line of so many bits a second and so long a way: when what is handed to it arrives.

bytes --wait behind those before--> bits at the line's rate --delay--> other end
"""

from __future__ import annotations

import threading


class Line:
    """One direction of a line. Raises ValueError for a rate that is none, or a negative delay."""

    def __init__(self, rate: float, delay: float) -> None:
        """rate: bits a second. delay: seconds from a bit's leaving to its arrival."""
        if rate <= 0 or delay < 0:
            raise ValueError(f"no line has {rate:g} bits a second and a delay of {delay:g} s")
        self._rate, self._delay = rate, delay
        self._free = 0.0
        self._lock = threading.Lock()

    def arrival(self, size: int, now: float) -> float:
        """When `size` bytes that are handed over at `now` are at the other end, in seconds.

        All connections share the line: bytes wait until those before them have left.
        """
        with self._lock:
            self._free = max(now, self._free) + 8 * size / self._rate
            return self._free + self._delay
