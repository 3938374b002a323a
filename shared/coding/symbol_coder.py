"""Symbols to bytes and back: ANS under 64 integer tables, one for each scale index.

Symbols are grouped by scale index, so that each call codes thousands of them under one table.
Index 0 is not coded at all: nearly all of such symbols are zero. A symbol outside of its table is
an escape; the excess of all escapes follows the groups. Where few values are left to a symbol, it
is coded among them, after all others: by the counts of its table, as they stand to one another.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.coding.ans import Coder, Table
from shared.coding.integer_layers import SCALES
from shared.coding.intervals import WIDEST

LOG_SCALE_MIN: Final = math.log(0.08)
LOG_SCALE_STEP: Final = math.log(80.0 / 0.08) / (SCALES - 1)
TABLE_TOTAL: Final = 1 << 24
ESCAPE_BITS: Final = 16
BIT_PRICE: Final = 0.015
"""Squared error, in squared quantiser steps, that a bit must save: measured, see decisions."""
LEAST_BITS: Final = 1e-4

Array = NDArray[Any]
Allowed = tuple[Array, Array]
"""The lowest value of each symbol, and how many there are: 0 for any, 1 for one that is known."""


class SymbolCoder:
    """Codes integers under the tables of their scale indices. Raises ValueError for other tables.

    tables: counts of all tables, one after another, each of which sums to 2**24. ends: where they
    end. Table i holds the symbols -reach..reach, then the escape.
    """

    def __init__(self, tables: Array, ends: Array) -> None:
        _check_form(tables, ends)
        counts = np.split(tables, ends[:-1])
        self._tables = [Table(each) for each in counts]
        self._counts = tables.astype(np.int64)
        self._starts = np.concatenate([[0], ends[:-1]])
        self._reach = np.array([(len(each) - 2) // 2 for each in counts], np.int16)
        self._escape = Table(np.ones(1 << ESCAPE_BITS))

    def push(
        self, coder: Coder, symbols: Array, index: Array, allowed: Allowed | None = None
    ) -> None:
        """Code symbols so that `pop` with the same indices (any shape) reads them.

        allowed: as of `intervals.allowed`; symbols are among them.
        """
        if allowed is not None:
            low, few = allowed[0].ravel(), np.flatnonzero(allowed[1] > 1)
            if len(few):
                rows = self._rows(index.ravel()[few], low[few], allowed[1].ravel()[few])
                coder.push_rows(symbols.ravel()[few] - low[few], rows)
            index = np.where(allowed[1] > 0, 0, index)
        order, groups = _groups(index)
        # Narrow integers throughout: of a large picture, these arrays are most of the memory.
        values, reach = symbols.ravel()[order], self._reach[index.ravel()[order]]
        outside = np.abs(values) > reach
        coded = np.where(outside, 2 * reach + 1, values + reach)
        excess = _fold(values[outside].astype(np.int32), reach[outside])
        if len(excess):
            coder.push(excess, self._escape)
        for scale, start, stop in reversed(groups):
            coder.push(coded[start:stop], self._tables[scale])

    def pop(self, coder: Coder, index: Array, allowed: Allowed | None = None) -> Array:
        """Symbols i32 of the shape of `index`; 0 where the index is 0."""
        if allowed is None:
            return self._pop(coder, index)
        low, count = allowed
        symbols = self._pop(coder, np.where(count > 0, 0, index)).ravel()
        few, only = np.flatnonzero(count > 1), np.flatnonzero(count == 1)
        symbols[only] = low.ravel()[only]
        if len(few):
            lowest = low.ravel()[few]
            rows = self._rows(index.ravel()[few], lowest, count.ravel()[few])
            symbols[few] = lowest + coder.pop_rows(rows)
        return symbols.reshape(index.shape)

    def _rows(self, index: Array, low: Array, count: Array) -> Array:
        """Counts i64 [n, WIDEST] of `count` values from `low` on; they sum to 2**24."""
        step = np.arange(WIDEST)
        value, reach = low[:, None] + step, self._reach[index].astype(np.int64)[:, None]
        inside = np.abs(value) <= reach
        place = self._starts[index][:, None] + reach + np.where(inside, value, 0)
        counts = np.where(inside, self._counts[place], 1)
        counts *= step < count[:, None]
        ends = np.cumsum(counts, -1)
        ends = ends * TABLE_TOTAL // ends[:, -1:]
        return np.diff(ends, axis=-1, prepend=0)

    def _pop(self, coder: Coder, index: Array) -> Array:
        order, groups = _groups(index)
        coded = np.empty(len(order), np.int32)
        for scale, start, stop in groups:
            coded[start:stop] = coder.pop(self._tables[scale], stop - start)
        reach = self._reach[index.ravel()[order]]
        values = coded - reach
        outside = np.flatnonzero(values > reach)
        if len(outside):
            excess = coder.pop(self._escape, len(outside))
            values[outside] = _unfold(excess, reach[outside])
        symbols = np.zeros(index.size, np.int32)
        symbols[order] = values
        return symbols.reshape(index.shape)


def scale_tables() -> tuple[Array, Array]:
    """Integer tables of the 64 scales: counts i32 (each table sums to 2**24) and their ends.

    Table i holds the masses of round(N(0, scale_i)) at -R..R with R = ceil(6 scale) + 1, then the
    mass of the escape. Every count is at least 1.
    """
    tables, ends, end = [], [], 0
    for i in range(SCALES):
        scale = math.exp(LOG_SCALE_MIN + LOG_SCALE_STEP * i)
        limit = math.ceil(6 * scale) + 1
        edges = np.arange(-limit, limit + 2) - 0.5
        cumulative = np.array([0.5 * (1 + math.erf(e / (scale * math.sqrt(2)))) for e in edges])
        counts = np.maximum(1, np.round(np.diff(cumulative) * TABLE_TOTAL)).astype(np.int64)
        counts = np.append(counts, 1)
        counts[limit] += TABLE_TOTAL - counts.sum()
        tables.append(counts)
        end += len(counts)
        ends.append(end)
    return np.concatenate(tables).astype(np.int32), np.array(ends, np.int32)


def bits_of_one(tables: Array, ends: Array) -> Array:
    """How many bits a 1 costs more than a 0: f32 [64], by scale, above 0.

    In the widest tables what rounding left over makes a 0 the rarer by a hair.
    """
    counts = np.split(tables, ends[:-1])
    middle = [(len(each) - 2) // 2 for each in counts]
    bits = [np.log2(each[m] / each[m + 1]) for each, m in zip(counts, middle, strict=True)]
    return np.maximum(bits, LEAST_BITS, dtype=np.float32)


def dead_zones(bits: Array, price: float = BIT_PRICE) -> Array:
    """How far a distance to the mean is drawn to zero before it is rounded: f32, of `bits_of_one`.

    Where a 1 costs b bits more than a 0, and a bit is worth `price` of squared error, a 1 pays from
    the distance 1/2 + price * b / 2 on.
    """
    zones: Array = bits * np.float32(price / 2)
    return zones


def _check_form(tables: Array, ends: Array) -> None:
    if ends.shape != (SCALES,) or ends[-1] != len(tables) or (np.diff(ends, prepend=0) < 4).any():
        raise ValueError(f"there are not {SCALES} tables")
    if tables.min() < 1 or any(t.sum() != TABLE_TOTAL for t in np.split(tables, ends[:-1])):
        raise ValueError(f"a table does not sum to {TABLE_TOTAL}")


def _groups(index: Array) -> tuple[Array, list[tuple[int, int, int]]]:
    """Flat positions i32 in order of scale index, without 0, and (index, start, stop) of each.

    Positions of one index keep their order.
    """
    flat = index.ravel()
    coded = np.flatnonzero(flat).astype(np.int32)
    scales = flat[coded]
    order = coded[np.argsort(scales, kind="stable")]
    counts = np.bincount(scales, minlength=SCALES)
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present])
    starts = ends - counts[present]
    return order, list(zip(present.tolist(), starts.tolist(), ends.tolist(), strict=True))


def _fold(values: Array, reach: Array) -> Array:
    """Escaped symbols as 0, 1, 2, ...: the excess over the table, sign in the lowest bit."""
    return (np.abs(values) - reach - 1) * 2 + (values < 0)


def _unfold(excess: Array, reach: Array) -> Array:
    magnitude = (excess >> 1) + reach + 1
    return np.where(excess & 1, -magnitude, magnitude)
