"""The entropy coder: ANS (asymmetric numeral systems) with tables of counts.

    symbols --push, last first--> coder --payload--> bytes --open_coder--> coder --pop--> symbols

The state has 64 bits, words have 32, and a table divides 2**24 parts among its symbols: the stack
coder of constriction ("ans" in Bamler, arXiv 2201.01741). Where constriction is installed it does
the work. It has no wheel for Linux on aarch64, so there is a second coder here in Python's own
integers, which writes the same bytes and reads the same symbols, of damaged payloads, too.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

try:
    import constriction
except ImportError:
    constriction = None

PRECISION: Final = 24  # bits of what a table divides
WORD: Final = 32  # bits that leave and enter the state at a time
STATE: Final = 64
_PARTS: Final = 1 << PRECISION
_FULL: Final = 1 << (STATE - WORD)  # below it, the state takes a word in
_BLOCK: Final = 1 << 16  # symbols that become Python's integers at a time

Array = NDArray[Any]


class Table:
    """How often each of n symbols is expected, as counts i64 [n].

    Raises ValueError unless n >= 2, all counts are positive and their sum is a power of two up to
    2**24: only of such counts is every share exact in floating point, as constriction takes them.
    """

    def __init__(self, counts: Array) -> None:
        self._counts = np.asarray(counts, np.int64)
        self._total = int(self._counts.sum())
        if self._counts.ndim != 1 or len(self._counts) < 2 or self._counts.min() < 1:
            raise ValueError("a table has two or more counts, all of them positive")
        if self._total > _PARTS or self._total & (self._total - 1):
            raise ValueError(f"counts sum to {self._total}, not to a power of two up to 2**24")

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """i64 [n + 1]: symbol k has the parts bounds[k] to bounds[k + 1] of 2**24, at least one."""
        return bounds_of(self._counts)

    @cached_property
    def model(self) -> Any:
        """The same for constriction."""
        models = constriction.stream.model
        if (self._counts == self._counts[0]).all():
            return models.Uniform(len(self._counts))  # the same bounds, found without a search
        return models.Categorical(self._counts / self._total, perfect=False)


def bounds_of(counts: Array) -> NDArray[np.int64]:
    """Of counts i64 [..., n] the parts that each symbol begins with, and the end: i64 [..., n + 1].

    Their sum is a power of two.
    """
    symbols = counts.shape[-1]
    before = np.zeros((*counts.shape[:-1], symbols + 1), np.int64)
    np.cumsum(counts, -1, out=before[..., 1:])
    total = before[..., -1:]
    bounds: NDArray[np.int64] = before * (_PARTS - symbols) // total + np.arange(symbols + 1)
    return bounds


class Coder(Protocol):
    """A stack: what was pushed last is popped first. Made by `open_coder`."""

    def push(self, symbols: Array, table: Table) -> None:
        """Code symbols i32 [N] of 0 .. n - 1 so that `pop` finds them in this order."""

    def pop(self, table: Table, count: int) -> NDArray[np.int32]:
        """The next symbols i32 [count]; a payload that has no more of them yields any."""

    def push_rows(self, symbols: Array, rows: Array) -> None:
        """As `push`, but each symbol under counts of its own, i64 [N, n], that sum to 2**24."""

    def pop_rows(self, rows: Array) -> NDArray[np.int32]:
        """As `pop`, under the same counts."""

    def is_empty(self) -> bool:
        """Whether nothing is left, as after popping all that was pushed."""

    def payload(self) -> bytes:
        """What was pushed, as bytes."""


def open_coder(payload: bytes = b"") -> Coder:
    """A coder that holds what `payload` holds. Raises ValueError where that is no payload."""
    return PlainCoder(payload) if constriction is None else ConstrictionCoder(payload)


class ConstrictionCoder:
    """The coder of constriction, in Rust."""

    def __init__(self, payload: bytes = b"") -> None:
        words = unpack_words(payload)
        self._coder = constriction.stream.stack.AnsCoder(*([words] if len(words) else []))

    def push(self, symbols: Array, table: Table) -> None:
        """As in `Coder`."""
        self._coder.encode_reverse(np.ascontiguousarray(symbols, np.int32), table.model)

    def pop(self, table: Table, count: int) -> NDArray[np.int32]:
        """As in `Coder`."""
        symbols: NDArray[np.int32] = self._coder.decode(table.model, count)
        return symbols

    def push_rows(self, symbols: Array, rows: Array) -> None:
        """As in `Coder`."""
        coded = np.ascontiguousarray(symbols, np.int32)
        self._coder.encode_reverse(coded, self._rows(), rows / _PARTS)

    def pop_rows(self, rows: Array) -> NDArray[np.int32]:
        """As in `Coder`."""
        symbols: NDArray[np.int32] = self._coder.decode(self._rows(), rows / _PARTS)
        return symbols

    @staticmethod
    def _rows() -> Any:
        return constriction.stream.model.Categorical(perfect=False)

    def is_empty(self) -> bool:
        """As in `Coder`."""
        return bool(self._coder.is_empty())

    def payload(self) -> bytes:
        """As in `Coder`."""
        return pack_words(self._coder.get_compressed())


class PlainCoder:
    """The same in Python's integers: no compiled code but numpy's."""

    def __init__(self, payload: bytes = b"") -> None:
        self._words: list[int] = unpack_words(payload).tolist()
        self._state = 0
        while self._words and self._state < _FULL:
            self._state = self._state << WORD | self._words.pop()

    def push(self, symbols: Array, table: Table) -> None:
        """As in `Coder`."""
        low, share = table.bounds[:-1], np.diff(table.bounds)
        for stop in range(len(symbols), 0, -_BLOCK):
            block = symbols[max(0, stop - _BLOCK) : stop]
            self._push(low[block], share[block])

    def push_rows(self, symbols: Array, rows: Array) -> None:
        """As in `Coder`."""
        bounds = bounds_of(rows)
        every = np.arange(len(symbols))
        low = bounds[every, symbols]
        self._push(low, bounds[every, symbols + 1] - low)

    def _push(self, low: Array, share: Array) -> None:
        """Code symbols by their first parts and how many parts they have, i64 [N] each."""
        limit = share.astype(np.uint64) << np.uint64(STATE - PRECISION)
        columns = (limit, share, _PARTS - share, low)
        state, words = self._state, self._words
        rows = zip(*(column[::-1].tolist() for column in columns), strict=True)
        for most, parts, others, first in rows:
            if state >= most:
                words.append(state & 0xFFFFFFFF)
                state >>= WORD
            # (state // parts) * 2**24 + first + state % parts, with one division
            state += state // parts * others + first
        self._state = state

    def pop(self, table: Table, count: int) -> NDArray[np.int32]:
        """As in `Coder`."""
        bounds = table.bounds.tolist()
        return self._pop(itertools.repeat(bounds, count))

    def pop_rows(self, rows: Array) -> NDArray[np.int32]:
        """As in `Coder`."""
        return self._pop(bounds_of(rows).tolist())

    def _pop(self, tables: Iterable[list[int]]) -> NDArray[np.int32]:
        """The next symbol under each of these bounds."""
        symbols = []
        state, words = self._state, self._words
        for bounds in tables:
            part = state & (_PARTS - 1)
            k = bisect_right(bounds, part) - 1
            symbols.append(k)
            state = (state >> PRECISION) * (bounds[k + 1] - bounds[k]) + part - bounds[k]
            if state < _FULL and words:
                state = state << WORD | words.pop()
        self._state = state
        return np.array(symbols, np.int32)

    def is_empty(self) -> bool:
        """As in `Coder`."""
        return self._state == 0

    def payload(self) -> bytes:
        """As in `Coder`."""
        return pack_words(np.array([*self._words, self._state & 0xFFFFFFFF, self._state >> WORD]))


def pack_words(words: Array) -> bytes:
    """Little-endian bytes of the words, trailing zero bytes cut.

    The last word of an ANS stream is never zero, so its leading zero bytes need not travel: on
    average that saves a byte or two of a stream of a few hundred.
    """
    return np.asarray(words).astype("<u4").tobytes().rstrip(b"\0")


def unpack_words(payload: bytes) -> NDArray[np.uint32]:
    """The words of `pack_words`. Raises ValueError for a payload that it cannot have written."""
    if payload.endswith(b"\0"):
        raise ValueError("a stream never ends in a zero byte")
    padded = payload + b"\0" * (-len(payload) % 4)
    return np.frombuffer(padded, "<u4").astype(np.uint32)
