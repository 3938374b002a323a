"""The coder of level maps: a stack that ends within a byte or so of what its symbols hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.coding.byte_ans import PARTS, ByteCoder, Table

tables = st.lists(st.integers(1, PARTS - 1), min_size=1, max_size=5).map(tuple)
coded = st.lists(
    tables.flatmap(lambda table: st.tuples(st.just(table), st.integers(0, len(table)))),
    max_size=300,
)


def bits(table: Table, symbol: int) -> float:
    """What a symbol holds under a table."""
    shares = [*table[:symbol], *(PARTS - chance for chance in table[symbol : symbol + 1])]
    return -sum(math.log2(share / PARTS) for share in shares)


@given(coded, st.integers(0, 300))
def test_symbols_come_back_in_order(each: list[tuple[Table, int]], cut: int) -> None:
    chances, symbols = [t for t, _ in each], [s for _, s in each]
    coder = ByteCoder()
    coder.push(symbols[cut:], chances[cut:])
    coder.push(symbols[:cut], chances[:cut])
    payload = coder.payload()
    reader = ByteCoder(payload)
    assert reader.pop(chances) == symbols
    assert reader.is_empty
    assert ByteCoder(payload).payload() == payload
    # The states below 2**8 are coarse: up to a hundredth of a bit is lost for each decision.
    made = sum(len(t) for t in chances)
    assert len(payload) <= 2 + (sum(map(bits, chances, symbols)) + made / 100) / 8


@given(st.binary(max_size=40), st.lists(tables, max_size=60))
@example(b"", [(255,)] * 9)
@example(b"\xff" * 40, [(1,)])
@example(b"\x01", [(1,), (255,), (255, 1, 255)])
def test_any_payload_is_read_and_what_was_read_is_pushed_to_the_same(
    payload: bytes, chances: list[Table]
) -> None:
    if payload.endswith(b"\0"):
        with pytest.raises(ValueError, match="zero byte"):
            ByteCoder(payload)
        return
    coder = ByteCoder(payload)
    symbols = coder.pop(chances)
    assert all(0 <= s <= len(t) for s, t in zip(symbols, chances, strict=True))
    coder.push(symbols, chances)
    assert coder.payload() == payload


@pytest.mark.parametrize("chance", [1, 7, 128, 252, 255])
def test_every_small_state_is_one_decision_and_one_state(chance: int) -> None:
    seen = set()
    for state in range(1, 1 << 10):
        coder = ByteCoder(state.to_bytes(2, "little").rstrip(b"\0"))
        (symbol,) = coder.pop([(chance,)])
        seen.add((symbol, coder.payload()))
        coder.push([symbol], [(chance,)])
        assert int.from_bytes(coder.payload(), "little") == state
    assert len(seen) == (1 << 10) - 1


def test_the_first_symbols_cost_what_they_hold() -> None:
    # Of the range variant the first of these fills a state's lower byte.
    for chance, number in ((16, 4), (64, 8), (128, 16)):
        coder = ByteCoder()
        coder.push([1] * number, [(chance,)] * number)
        assert len(coder.payload()) == 2
