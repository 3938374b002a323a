"""The level map: every map comes back, hostile payloads end in StreamMalformed."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.bitstream import Bitstream
from shared.coding.byte_ans import ByteCoder
from shared.coding.level_tables import ALONE, CHANCES
from shared.errors import StreamMalformed
from shared.level_map import (
    AS_USUAL,
    CELLS,
    LEVELS,
    MAX_CODE,
    MAX_STEP,
    OFFSETS,
    STEP_UNIT,
    STRIDE,
    USUAL_FORM,
    LevelMap,
    cell_shape,
    flat_codes,
    latent_shape,
    quantise_importance,
    read_codes,
)

sides = st.integers(1, 700)
cells = st.sampled_from(CELLS)
levels = st.sampled_from(LEVELS)
steps = st.integers(0, MAX_STEP // STEP_UNIT).map(lambda units: STEP_UNIT * units)
seeds = st.integers(0, 2**32 - 1)


def random_map(width: int, height: int, cell: int, count: int, step: int, seed: int) -> LevelMap:
    """Levels in blobs, as importance is, or without any order, by the seed."""
    chance = np.random.default_rng(seed)
    shape = cell_shape(width, height, cell)
    values = chance.integers(0, count, shape)
    if seed % 2:
        rough = chance.normal(size=shape).cumsum(0).cumsum(1)
        values = np.clip(np.round(rough) + count // 2, 0, count - 1)
    return LevelMap(values.astype(np.uint8), cell, count, step)


def test_tables_are_whole() -> None:
    for count in LEVELS:
        if count == 2:
            contexts = itertools.product((0, 1), (1, 2, 4), range(5))
        else:
            contexts = ((w, b, a) for w in (0, 1) for b in range(5) for a in range(5 - b))
        assert set(CHANCES[count]) == {*contexts, ALONE}
        for row in CHANCES[count].values():
            assert len(row) == count - 1
            assert all(0 < chance < 256 for chance in row)


@given(sides, sides, cells, levels, steps, seeds)
@example(1, 1, 16, 2, 0, 0)
@example(1, 1, 16, 3, 0, 0)
@example(1, 65_535, 64, 5, 75, 1)
@example(65_535, 1, 16, 3, 30, 2)
@example(600, 500, 16, 2, 30, 3)
def test_a_map_comes_back(
    width: int, height: int, cell: int, count: int, step: int, seed: int
) -> None:
    wanted = random_map(width, height, cell, count, step, seed)
    payload = wanted.encode()
    decoded = LevelMap.decode(payload, width, height)
    assert (decoded.cell, decoded.levels, decoded.step) == (cell, count, step)
    assert decoded.values.dtype == np.uint8
    np.testing.assert_array_equal(decoded.values, wanted.values)
    assert decoded.encode() == payload


def test_a_map_of_blobs_costs_less_than_a_bit_a_cell() -> None:
    values = np.zeros((16, 16), np.uint8)
    values[3:10, 4:13] = 1
    values[4:9, 5:12] = 2
    assert len(LevelMap(values, 16).encode()) <= 256 // 8


def test_a_usual_map_of_one_blob_takes_a_few_bytes() -> None:
    values = np.zeros((16, 16), np.uint8)
    assert len(LevelMap(values, 16, 2, 30).encode()) <= 2
    values[4:9, 5:12] = 1
    assert len(LevelMap(values, 16, 2, 30).encode()) <= 9


@given(sides, sides, cells, levels, steps)
@example(1, 1, 16, 2, 30)
def test_no_payload_is_empty(width: int, height: int, cell: int, count: int, step: int) -> None:
    # A stream without a map has the base quality everywhere: an empty payload would be read so.
    lowest = np.zeros(cell_shape(width, height, cell), np.uint8)
    assert LevelMap(lowest, cell, count, step).encode()


@given(st.binary(max_size=60), sides, sides)
@example(b"", 256, 256)
@example(b"\x03", 256, 256)
@example(b"\x64\x00", 256, 256)
@example(b"\xff" * 60, 256, 256)
def test_hostile_payloads_are_malformed_or_a_map(payload: bytes, width: int, height: int) -> None:
    try:
        decoded = LevelMap.decode(payload, width, height)
    except StreamMalformed:
        return
    assert decoded.values.shape == cell_shape(width, height, decoded.cell)
    assert decoded.values.max() < decoded.levels
    # One map, one form: what a reader takes is what a writer would have written.
    assert decoded.encode() == payload


def test_every_damage_of_one_payload_is_malformed_or_another_map() -> None:
    # Little is left over that damage could show in: the container's CRC finds it.
    payload = random_map(256, 192, 16, 3, 30, 7).encode()
    damaged = [payload[:end] for end in range(len(payload))] + [payload + b"\x01"]
    for place in range(len(payload)):
        damaged += [payload[:place] + bytes([v]) + payload[place + 1 :] for v in range(0, 256, 5)]
    payloads = {payload}
    for bad in damaged:
        try:
            payloads.add(LevelMap.decode(bad, 256, 192).encode())
        except StreamMalformed:
            continue
        assert bad in payloads
    assert 1 < len(payloads) < len(set(damaged))


@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_forms_that_no_map_has_are_malformed(size: int, count: int) -> None:
    form = size | count << 2 | 6 << 4
    coder = ByteCoder()
    coder.push([0], [CHANCES[LEVELS[count]][ALONE] if count < 3 else (128,)])
    bits = [int(form >> place & 1 == USUAL_FORM >> place & 1) for place in range(8)]
    coder.push(bits, [AS_USUAL] * 8)
    if size < 3 and count < 3:
        decoded = LevelMap.decode(coder.payload(), 16, 16)
        assert (decoded.cell, decoded.levels, decoded.step) == (CELLS[size], LEVELS[count], 30)
    else:
        with pytest.raises(StreamMalformed, match="unknown size or number"):
            LevelMap.decode(coder.payload(), 16, 16)


def of_a_form(size: int) -> bytes:
    """Bytes that no map is coded in, but whose end, which is read first, is the form of one."""
    return b"\x55" * size + LevelMap(np.ones((9, 9), np.uint8), 16, 3, 30).encode()


def test_a_small_payload_for_a_large_picture_allocates_little() -> None:
    payload = of_a_form(60_000)
    tracemalloc.start()
    try:
        with pytest.raises(StreamMalformed, match="longer than its cells"):
            LevelMap.decode(payload, 8_000, 8_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_a_large_payload_for_a_small_picture_allocates_little_more_than_itself() -> None:
    payload = of_a_form(8 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(StreamMalformed, match="longer than its cells"):
            LevelMap.decode(payload, 64, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(payload)


@pytest.mark.parametrize(
    ("cell", "count", "step"), [(8, 3, 30), (32, 4, 30), (32, 3, 31), (32, 3, 80), (32, 3, -5)]
)
def test_maps_that_no_payload_holds_are_refused(cell: int, count: int, step: int) -> None:
    with pytest.raises(StreamMalformed):
        LevelMap(np.ones((2, 2), np.uint8), cell, count, step)


@given(sides, sides, cells, levels, steps, st.integers(0, MAX_CODE), seeds)
def test_codes_follow_the_cell_of_a_latent(
    width: int, height: int, cell: int, count: int, step: int, base: int, seed: int
) -> None:
    level_map = random_map(width, height, cell, count, step, seed)
    codes = level_map.codes(base, width, height)
    assert codes.shape == latent_shape(width, height)
    assert codes.dtype == np.int32
    row, column = seed % codes.shape[0], seed % codes.shape[1]
    level = int(level_map.values[row * STRIDE // cell, column * STRIDE // cell])
    wanted = base + OFFSETS[count][level] * step
    assert codes[row, column] == min(MAX_CODE, max(0, wanted))


def test_a_flat_map_is_no_map() -> None:
    flat = LevelMap(np.ones(cell_shape(100, 60, 32), np.uint8))
    np.testing.assert_array_equal(flat.codes(77, 100, 60), flat_codes(77, 100, 60))


def test_levels_are_those_of_the_paper() -> None:
    importance = np.array([0.0] * 10 + [1.0] * 80 + [2.0] * 10, np.float32)
    levels = quantise_importance(importance, k=0.75)
    assert levels.tolist() == [0] * 10 + [1] * 80 + [2] * 10
    far = np.concatenate([importance, np.float32([9.0, -9.0])])
    assert quantise_importance(far, levels=5)[-2:].tolist() == [4, 0]
    assert quantise_importance(far, levels=2).tolist() == [0] * 90 + [1] * 10 + [1, 0]


@given(st.integers(1, 9), st.integers(1, 9), levels, seeds)
def test_quantised_importance_is_in_range_and_monotonic(
    rows: int, columns: int, count: int, seed: int
) -> None:
    importance = np.random.default_rng(seed).exponential(size=(rows, columns)).astype(np.float32)
    levels = quantise_importance(importance, count)
    assert levels.shape == importance.shape
    assert levels.max() < count
    order = importance.ravel().argsort()
    assert (np.diff(levels.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30])
def test_a_flat_importance_is_all_base(value: float) -> None:
    assert (quantise_importance(np.full((3, 4), value, np.float32)) == 1).all()


def test_codes_of_a_stream() -> None:
    flat = Bitstream(b"none", 40, 24, 60, 0, b"", b"latents")
    codes, level_map = read_codes(flat)
    assert (codes.tolist(), level_map) == ([[60] * 3] * 2, None)
    values = np.array([[0, 2]], np.uint8)
    mapped = Bitstream(b"none", 40, 24, 60, 0, LevelMap(values, 32, 3, 30).encode(), b"latents")
    codes, level_map = read_codes(mapped)
    assert codes.tolist() == [[30, 30, 90]] * 2
    assert level_map is not None
    assert level_map.values.tolist() == values.tolist()
    with pytest.raises(StreamMalformed):
        read_codes(Bitstream(b"none", 40, 24, 60, 0, b"\xff" * 9, b"latents"))
