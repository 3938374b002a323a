"""The coder of level maps: a stack that ends within a few bytes of what its symbols hold."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.byte_ans import PARTS, Bounds, ByteCoder, bounds_of

tables = st.lists(st.integers(1, PARTS - 1), min_size=1, max_size=6, unique=True).map(
    lambda inner: (0, *sorted(inner), PARTS)
)
coded = st.lists(
    tables.flatmap(lambda bounds: st.tuples(st.just(bounds), st.integers(0, len(bounds) - 2))),
    max_size=300,
)


@given(coded, st.integers(0, 300))
def test_symbols_come_back_in_order(each: list[tuple[Bounds, int]], cut: int) -> None:
    bounds, symbols = [b for b, _ in each], [s for _, s in each]
    coder = ByteCoder()
    coder.push(symbols[cut:], bounds[cut:])
    coder.push(symbols[:cut], bounds[:cut])
    payload = coder.payload()
    reader = ByteCoder(payload)
    assert reader.pop(bounds) == symbols
    assert reader.is_empty
    assert ByteCoder(payload).payload() == payload
    shares = [(b[s + 1] - b[s]) / PARTS for b, s in each]
    assert len(payload) <= 3 - sum(map(math.log2, shares)) / 8


@given(st.binary(max_size=40), st.lists(tables, max_size=60))
@example(b"", [(0, 1, 256)] * 9)
@example(b"\xff" * 40, [(0, 255, 256)])
def test_any_payload_is_read_and_what_was_read_is_pushed_to_the_same(
    payload: bytes, bounds: list[Bounds]
) -> None:
    if payload.endswith(b"\0"):
        with pytest.raises(ValueError, match="zero byte"):
            ByteCoder(payload)
        return
    coder = ByteCoder(payload)
    symbols = coder.pop(bounds)
    assert all(0 <= s < len(b) - 1 for s, b in zip(symbols, bounds, strict=True))
    coder.push(symbols, bounds)
    assert coder.payload() == payload


def test_bounds_are_those_of_counts() -> None:
    bounds = bounds_of((8, 232, 16))
    assert [b - a for a, b in pairwise(bounds)] == [8, 232, 16]
    for counts in ((0, 256), (100, 100), (300, -44)):
        with pytest.raises(ValueError, match="sum of 256"):
            bounds_of(counts)
