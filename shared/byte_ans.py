"""ANS for a few hundred symbols: it ends within a byte or so of what they hold.

The coder of `shared/ans.py` divides 2**24 parts, and its first symbol fills as many bits. Here
words have 8 bits, the state has 16 and a table divides 256 parts; each symbol brings its own table,
and Python's own integers do the work.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

PARTS: Final = 256

Bounds = tuple[int, ...]
"""Of n symbols, n + 1 rising numbers from 0 to 256: symbol k has the parts from the k-th on."""


def bounds_of(counts: Sequence[int]) -> Bounds:
    """The bounds of counts, all positive, that sum to 256. Raises ValueError for others."""
    if min(counts) < 1 or sum(counts) != PARTS:
        raise ValueError(f"counts {tuple(counts)} are not positive with a sum of {PARTS}")
    return tuple(sum(counts[:k]) for k in range(len(counts) + 1))


class ByteCoder:
    """A stack: what was pushed last is popped first. Raises ValueError for what is no payload."""

    def __init__(self, payload: bytes = b"") -> None:
        if payload.endswith(b"\0"):
            raise ValueError("a stream never ends in a zero byte")
        self._words = bytearray(payload)
        self._state = 0
        self._refill()

    def push(self, symbols: Sequence[int], tables: Sequence[Bounds]) -> None:
        """Code symbols, each under its own table, so that `pop` finds them in this order."""
        for symbol, bounds in zip(reversed(symbols), reversed(tables), strict=True):
            low = bounds[symbol]
            share = bounds[symbol + 1] - low
            if self._state >= share << 8:
                self._words.append(self._state & 0xFF)
                self._state >>= 8
            self._state = (self._state // share) * PARTS + low + self._state % share

    def pop(self, tables: Iterable[Bounds]) -> list[int]:
        """The next symbol under each table; a payload that has no more of them yields any."""
        symbols = []
        for bounds in tables:
            part = self._state % PARTS
            symbol = bisect_right(bounds, part) - 1
            symbols.append(symbol)
            share = bounds[symbol + 1] - bounds[symbol]
            self._state = (self._state // PARTS) * share + part - bounds[symbol]
            self._refill()
        return symbols

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, as after popping all that was pushed."""
        return self._state == 0 and not self._words

    def payload(self) -> bytes:
        """What was pushed, as bytes; zero bytes at the end are left out, a reader needs none."""
        return bytes(self._words + self._state.to_bytes(2, "little")).rstrip(b"\0")

    def _refill(self) -> None:
        while self._state < PARTS and self._words:
            self._state = self._state << 8 | self._words.pop()
