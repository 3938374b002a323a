"""Sections 4.6 and 6 of docs/bitstream.md: true, and enough for the second reader to go on."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from shared.coding.integer_layers import SCALES
from shared.coding.intervals import ZONES
from shared.coding.symbol_coder import bits_of_one, dead_zones, scale_tables
from shared.layers.cells import Cells
from shared.layers.enhancement import MAX_LAYERS, Enhancement, read_layers
from shared.level_map import LevelMap
from tests.shared.second_reader import (
    TEXT,
    Known,
    Network,
    after,
    example,
    read_levels,
    table,
)

FOLDER = Path(__file__).parent / "golden" / "layers"


def enhancement() -> bytes:
    lines = [line for line in after("<!-- enhancement -->") if not line.startswith("```")]
    return bytes.fromhex("".join(re.split(r"\s{2,}", line)[0] for line in lines))


def test_the_example_is_an_enhancement_of_the_stream_before() -> None:
    data = enhancement()
    cells = Cells.at([(0, 1), (1, 1)], 96, 80)
    wanted = Enhancement(0x1234, 120, 16, 0x5678, cells.encode(), bytes.fromhex("aabbccdd"))
    assert Enhancement.from_bytes(data) == wanted
    assert wanted.to_bytes() == data
    assert f"0x{zlib.crc32(data[:-4]):08x} of the {len(data) - 4} bytes before" in TEXT
    stream, later = read_layers(example() + data)
    assert stream.check == later[0].base
    assert later == (wanted,)
    form, read = read_levels(wanted.cells, 96, 80)
    assert form == 0x61
    assert {(row, column) for _, row, column, _, level in read if level} == {(0, 1), (1, 1)}


def test_the_zones_are_those_of_the_code_and_of_the_tables() -> None:
    rows = {row[0]: int(row[1]) for row in table("<!-- zones -->")}
    zones = np.array([0, *(rows.get(str(i), rows["all others"]) for i in range(1, SCALES))])
    np.testing.assert_array_equal(zones[1:], ZONES[1:])
    np.testing.assert_allclose(256 * dead_zones(bits_of_one(*scale_tables())), ZONES, atol=0.51)


def test_the_page_says_what_a_file_may_hold() -> None:
    assert f"It has at most {MAX_LAYERS}." in TEXT
    empty = Enhancement(0, 0, 0, 0, b"", b"").to_bytes()
    assert len(empty) == 15
    assert "takes 16 bytes, 15 while its latents have less than 128" in TEXT


def codes_of(level_map: bytes, width: int, height: int, q: int) -> np.ndarray:
    """Section 3: the quality codes of all latents."""
    rows, columns = -(-height // 16), -(-width // 16)
    if not level_map:
        return np.full((rows, columns), q)
    return LevelMap.decode(level_map, width, height).codes(q, width, height)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cotam")), ids=lambda path: path.stem)
def test_the_second_reader_reads_layers(path: Path) -> None:
    with np.load(FOLDER / "entropy.npz") as file:
        network = Network(dict(file))
    stream, later = read_layers(path.read_bytes())
    size, check = (stream.width, stream.height), stream.check
    codes = codes_of(stream.level_map, *size, stream.quality_code)
    z, symbols, means = network.read(stream.latents, codes, stream.quality_code)
    assert check == check_of(z, symbols, np.ones(codes.shape, bool))
    values, scales, signs = (16 * symbols + means) * network.steps(codes), network.scales, symbols
    for layer in later:
        assert layer.base == check
        mask = np.ones(codes.shape, bool)
        finer = codes_of(stream.level_map, *size, layer.quality_code)
        if layer.cells:
            form, read = read_levels(layer.cells, *size)
            cell = 1 << (form & 3)  # latents a side
            chosen = {(row, column) for _, row, column, _, level in read if level}
            places = np.argwhere(mask).tolist()
            inside = [(row // cell, column // cell) in chosen for row, column in places]
            mask = np.array(inside).reshape(mask.shape)
            finer = np.full(codes.shape, layer.quality_code)
        mask &= finer > codes
        known = Known(z, values, codes, mask, scales, signs, layer.price_before)
        _, symbols, means = network.read(layer.latents, finer, layer.quality_code, known)
        check = check_of(z, symbols, mask)
        assert layer.check == check
        codes = np.where(mask, finer, codes)
        coded = (16 * symbols + means) * network.steps(codes)
        values, scales, signs = (
            np.where(mask[..., None], new, old)
            for new, old in ((coded, values), (network.scales, scales), (symbols, signs))
        )


def check_of(z: np.ndarray, symbols: np.ndarray, mask: np.ndarray) -> int:
    words = z.astype("<i2").tobytes() + symbols[mask].astype("<i2").tobytes()
    return zlib.crc32(words) & 0xFFFF
