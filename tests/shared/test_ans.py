"""The entropy coder: symbols come back, and both coders agree in every byte and every symbol."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.coding.ans import (
    Coder,
    ConstrictionCoder,
    PlainCoder,
    Table,
    open_coder,
    pack_words,
    unpack_words,
)

words = st.lists(st.integers(0, 2**32 - 1), max_size=20).filter(lambda w: not w or w[-1] != 0)


@given(words)
@example([])
@example([0, 0, 1])
@example([1 << 24])
def test_words_come_back(values: list[int]) -> None:
    payload = pack_words(np.array(values, np.uint32))
    assert unpack_words(payload).tolist() == values
    assert not payload.endswith(b"\0")


@given(st.binary(max_size=40))
def test_bytes_come_back_or_are_refused(payload: bytes) -> None:
    if payload.endswith(b"\0"):
        with pytest.raises(ValueError, match="zero byte"):
            unpack_words(payload)
        return
    words = unpack_words(payload)
    assert words.dtype == np.uint32
    assert pack_words(words) == payload


# -- coders -----------------------------------------------------------------------------------

COUNTED = 2**24


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Tables of 2 to 300 symbols: flat ones, steep ones, any power of two as their sum."""
    bits = draw(st.integers(1, 24))
    size = draw(st.integers(2, min(300, 1 << bits)))
    if draw(st.booleans()):
        return Table(np.ones(1 << draw(st.integers(1, 16)), np.int64))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = chance.random(size) ** draw(st.sampled_from([1, 20, 400]))
    counts = 1 + np.floor(weights / weights.sum() * ((1 << bits) - size)).astype(np.int64)
    counts[draw(st.integers(0, size - 1))] += (1 << bits) - counts.sum()
    return Table(counts)


groups = st.lists(
    st.tuples(tables(), st.integers(0, 200), st.integers(0, 2**32)), min_size=1, max_size=4
)
Groups = list[tuple[Table, int, int]]
COUNTED_TO_ONE_SYMBOL = [(Table(np.array([1, COUNTED - 1])), 200, 7)]


def symbols_of(parts: Groups) -> list[tuple[Table, np.ndarray]]:
    """Symbols for each table: half of them as likely as it says, half of them any."""
    drawn = []
    for table, count, seed in parts:
        chance = np.random.default_rng(seed)
        likely = np.searchsorted(table.bounds, chance.integers(0, COUNTED, count), "right") - 1
        symbols = np.where(
            chance.random(count) < 0.5, likely, chance.integers(0, len(table.bounds) - 1, count)
        )
        drawn.append((table, symbols.astype(np.int32)))
    return drawn


def pushed(kind: Callable[[], Coder], parts: list[tuple[Table, np.ndarray]]) -> bytes:
    coder = kind()
    for table, symbols in reversed(parts):
        coder.push(symbols, table)
    return coder.payload()


def popped(
    kind: Callable[[bytes], Coder], payload: bytes, parts: list[tuple[Table, np.ndarray]]
) -> tuple[list[list[int]], bool]:
    coder = kind(payload)
    groups = [coder.pop(table, len(symbols)).tolist() for table, symbols in parts]
    return groups, coder.is_empty()


@given(groups)
@example(COUNTED_TO_ONE_SYMBOL)
@settings(max_examples=150, deadline=None)
def test_both_coders_write_the_same_bytes_and_read_them(drawn: Groups) -> None:
    parts = symbols_of(drawn)
    payload = pushed(ConstrictionCoder, parts)
    assert pushed(PlainCoder, parts) == payload
    wanted = [symbols.tolist() for _, symbols in parts], True
    assert popped(ConstrictionCoder, payload, parts) == wanted
    assert popped(PlainCoder, payload, parts) == wanted


@given(groups, st.binary(max_size=64), st.data())
@settings(max_examples=150, deadline=None)
def test_both_coders_read_the_same_from_damage(
    drawn: Groups, noise: bytes, data: st.DataObject
) -> None:
    parts = symbols_of(drawn)
    payload = pushed(PlainCoder, parts)
    cut = data.draw(st.integers(0, len(payload)))
    for damaged in (payload[:cut], payload[:cut] + noise, noise + payload, noise):
        if damaged.endswith(b"\0"):
            for kind in (ConstrictionCoder, PlainCoder):
                with pytest.raises(ValueError, match="zero byte"):
                    kind(damaged)
        else:
            by_plain = popped(PlainCoder, damaged, parts)
            assert by_plain == popped(ConstrictionCoder, damaged, parts)


@given(groups, st.data())
@settings(max_examples=40, deadline=None)
def test_a_flipped_bit_is_read_alike(drawn: Groups, data: st.DataObject) -> None:
    parts = symbols_of(drawn)
    payload = bytearray(pushed(PlainCoder, parts))
    assume(payload)
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assume(payload[-1])
    by_plain = popped(PlainCoder, bytes(payload), parts)
    assert by_plain == popped(ConstrictionCoder, bytes(payload), parts)


def test_long_arrays_are_pushed_in_blocks() -> None:
    table = Table(np.array([COUNTED - 5, 2, 2, 1]))
    symbols = np.random.default_rng(3).integers(0, 4, 70_000).astype(np.int32)
    parts = [(table, symbols)]
    payload = pushed(PlainCoder, parts)
    assert payload == pushed(ConstrictionCoder, parts)
    assert popped(PlainCoder, payload, parts) == ([symbols.tolist()], True)


@pytest.mark.parametrize(
    "counts", [[4], [], [3, 0, 1], [5, -1], [1, 2], [COUNTED, COUNTED], [[1, 1], [1, 1]]]
)
def test_tables_that_are_none(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="count"):
        Table(np.array(counts, np.int64))


def test_the_coder_is_constriction_s_where_it_is_installed() -> None:
    assert isinstance(open_coder(), ConstrictionCoder)


def test_the_coder_is_ours_where_it_is_not() -> None:
    code = (
        "import sys; sys.modules['constriction'] = None\n"
        "from shared.coding.ans import PlainCoder, open_coder\n"
        "assert isinstance(open_coder(), PlainCoder)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@given(st.integers(1, 60), st.integers(2, 9), st.integers(0, 2**32), st.binary(max_size=60))
def test_rows_of_counts_come_back_alike_from_both_coders(
    count: int, size: int, seed: int, noise: bytes
) -> None:
    chance = np.random.default_rng(seed)
    weights = chance.integers(0, 1 << 24, (count, size)) >> chance.integers(0, 24, (count, size))
    weights[:, -1] *= chance.random(count) < 0.5  # counts of 0 are symbols that there are not
    weights[:, 0] += 1
    ends = np.cumsum(weights, -1)
    rows = np.diff(ends * COUNTED // ends[:, -1:], axis=-1, prepend=0)
    symbols = chance.integers(0, size, count)
    payloads = []
    for coder in (PlainCoder(), ConstrictionCoder()):
        coder.push(symbols[:3], Table(np.ones(16, np.int64)))
        coder.push_rows(symbols, rows)
        payloads.append(coder.payload())
    assert payloads[0] == payloads[1]
    for payload in (payloads[0], noise.rstrip(b"\0")):
        coders = (PlainCoder(payload), ConstrictionCoder(payload))
        by_each = [coder.pop_rows(rows).tolist() for coder in coders]
        assert by_each[0] == by_each[1]
    assert PlainCoder(payloads[0]).pop_rows(rows).tolist() == symbols.tolist()
