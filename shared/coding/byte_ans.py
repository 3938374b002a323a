"""ANS for a few hundred symbols: it ends within half a byte or so of what they hold.

The coder of `shared/coding/ans.py` divides 2**24 parts, and its first symbol fills as many bits.
Here each symbol is a few decisions between two, and the states of one outcome lie evenly among
those of the other (uABS in Duda, arXiv 1311.2540). So a state grows by what a decision tells even
while it is small. Words have 8 bits, the state has 16, and Python's own integers do the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

PARTS: Final = 256

Table = tuple[int, ...]
"""Of n symbols n - 1 chances, 1 to 255: how many times in 256 a symbol that is k or more is above
k, for k from 0."""


class ByteCoder:
    """A stack: what was pushed last is popped first. Raises ValueError for what is no payload."""

    def __init__(self, payload: bytes = b"") -> None:
        if payload.endswith(b"\0"):
            raise ValueError("a stream never ends in a zero byte")
        self._words = bytearray(payload)
        self._state = 0
        self._refill()

    def push(self, symbols: Sequence[int], tables: Sequence[Table]) -> None:
        """Code symbols, each under its own table, so that `pop` finds them in this order."""
        for symbol, table in zip(reversed(symbols), reversed(tables), strict=True):
            if symbol < len(table):
                share = PARTS - table[symbol]
                self._make_room(share)
                self._state = self._state * PARTS // share
            for share in reversed(table[:symbol]):
                self._make_room(share)
                self._state = (self._state * PARTS + PARTS - 1) // share

    def pop(self, tables: Iterable[Table]) -> list[int]:
        """The next symbol under each table; a payload that has no more of them yields any."""
        symbols = []
        for table in tables:
            symbol = 0
            for chance in table:
                whole, part = divmod(self._state * chance, PARTS)
                is_above = part >= PARTS - chance
                self._state = whole if is_above else self._state - whole
                self._refill()
                if not is_above:
                    break
                symbol += 1
            symbols.append(symbol)
        return symbols

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, as after popping all that was pushed."""
        return self._state == 0 and not self._words

    def payload(self) -> bytes:
        """What was pushed, as bytes; zero bytes at the end are left out, a reader needs none."""
        return bytes(self._words + self._state.to_bytes(2, "little")).rstrip(b"\0")

    def _make_room(self, share: int) -> None:
        """Before a push of what has `share` of the states: keep the state within its bits."""
        if self._state >= share << 8:
            self._words.append(self._state & 0xFF)
            self._state >>= 8

    def _refill(self) -> None:
        while self._state < PARTS and self._words:
            self._state = self._state << 8 | self._words.pop()
