"""docs/bitstream.md: its example and tables are true, and enough to write a second reader."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from shared.bitstream import Bitstream
from shared.coding.level_tables import ALONE, CHANCES
from shared.entropy_model import EntropyModel
from shared.level_map import LevelMap, cell_shape, latent_shape
from tests.shared.second_reader import TEXT, Arrays, Network, example, read_levels, table


def test_the_example_is_a_stream() -> None:
    data = example()
    parsed = Bitstream.from_bytes(data)
    assert parsed == Bitstream(
        codec_id=bytes.fromhex("c07a0001"),
        width=96,
        height=80,
        quality_code=60,
        check=0x1234,
        level_map=bytes.fromhex("b840a0"),
        latents=bytes.fromhex("00112233445566778899"),
        extras=((200, b"hi"),),
    )
    assert parsed.to_bytes() == data
    assert f"0x{zlib.crc32(data[:-4]):08x} of the {len(data) - 4} bytes before" in TEXT


def test_the_example_is_read_as_the_page_says() -> None:
    stream = Bitstream.from_bytes(example())
    form, read = read_levels(stream.level_map, stream.width, stream.height)
    assert f"form 0x{form:02x}" in TEXT
    printed = [
        (int(number), *(int(n) for n in place.split(",")), context, int(level))
        for number, place, context, level in table("Levels as they are read:\n")
    ]
    assert read == printed
    level_map = LevelMap.decode(stream.level_map, stream.width, stream.height)
    assert (level_map.cell, level_map.levels, level_map.step) == (32, 2, 30)
    for _, row, column, _, level in read:
        assert level_map.values[row, column] == level


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_tables_are_those_of_the_code(count: int) -> None:
    rows = table(f"<!-- tables: {count} levels -->")
    names = {
        context: " ".join((("diagonal", "straight")[context[0]], *map(str, context[1:])))
        for context in CHANCES[count]
        if context != ALONE
    }
    wanted = {names.get(context, "alone"): row for context, row in CHANCES[count].items()}
    assert {row[0]: tuple(int(cell) for cell in row[1:]) for row in rows} == wanted


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_second_reader_reads_level_maps(count: int) -> None:
    chance = np.random.default_rng(count)
    for width, height, cell in ((1, 1, 16), (600, 170, 16), (64, 400, 32), (500, 90, 64)):
        values = chance.integers(0, count, cell_shape(width, height, cell)).astype(np.uint8)
        wanted = LevelMap(values, cell, count, 5 * int(chance.integers(16)))
        form, read = read_levels(wanted.encode(), width, height)
        assert (
            form == (16, 32, 64).index(cell) | (2, 3, 5).index(count) << 2 | wanted.step // 5 << 4
        )
        assert len(read) == values.size
        assert all(values[row, column] == level for _, row, column, _, level in read)


@pytest.mark.parametrize(("width", "height", "q"), [(1, 1, 0), (90, 50, 60), (33, 100, 140)])
def test_the_second_reader_reads_latents(
    entropy: EntropyModel, network: Arrays, width: int, height: int, q: int
) -> None:
    chance = np.random.default_rng(q)
    shape = (entropy.latent_channels, *latent_shape(width, height))
    spread = np.exp(chance.normal(1, 2, (shape[0], 1, 1)))
    latent = (chance.laplace(0, 1, shape) * spread).astype(np.float32)
    levels = chance.integers(0, 3, cell_shape(width, height, 32)).astype(np.uint8)
    codes = LevelMap(levels).codes(q, width, height)
    coded = entropy.encode(latent, codes, q)

    z, symbols, means = Network(network).read(coded.payload, codes, q)
    words = z.astype("<i2").tobytes() + symbols.astype("<i2").tobytes()
    assert zlib.crc32(words) & 0xFFFF == coded.check
    by_page = np.moveaxis((symbols + means / 16) * network["steps"][codes] / 256, -1, 0)
    decoded = entropy.decode(coded.payload, coded.check, codes, q)
    np.testing.assert_allclose(by_page, decoded, rtol=1e-5, atol=1e-5)
