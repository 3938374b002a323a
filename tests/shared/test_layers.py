"""Enhancements: every one comes back, and whatever is wrong with one is its own error."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.bitstream import ENHANCEMENT_MAGIC as MAGIC
from shared.bitstream import MAGIC as STREAM_MAGIC
from shared.bitstream import MAX_QUALITY_CODE, Bitstream, Limits
from shared.coding.intervals import USUAL
from shared.entropy_model import EntropyModel
from shared.errors import (
    DecoderMismatch,
    EnhancementCells,
    EnhancementCoarse,
    EnhancementError,
    EnhancementForeign,
    StreamCorrupt,
    StreamError,
    StreamForeign,
    StreamMalformed,
    StreamTooLarge,
    StreamTruncated,
    StreamVersion,
)
from shared.layers.cells import Cells
from shared.layers.enhancement import MAX_LAYERS, Enhancement, read_layers, split_layers
from shared.layers.known import Known
from shared.level_map import CELLS, LevelMap, cell_shape, latent_shape

enhancements = st.builds(
    Enhancement,
    base=st.integers(0, 0xFFFF),
    quality_code=st.integers(0, MAX_QUALITY_CODE),
    price_before=st.integers(0, 255),
    check=st.integers(0, 0xFFFF),
    cells=st.binary(max_size=40),
    latents=st.binary(max_size=400),
)
streams = st.builds(
    Bitstream,
    codec_id=st.just(b"here"),
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    quality_code=st.integers(0, MAX_QUALITY_CODE),
    check=st.integers(0, 0xFFFF),
    level_map=st.binary(max_size=20),
    latents=st.binary(max_size=200),
    extras=st.sampled_from([(), ((128, b""),), ((200, b"more"), (255, b"and more"))]),
)
SIZE = (130, 75)


def sealed(body: bytes) -> bytes:
    """A body with the right CRC, so that what is wrong inside is reached."""
    return body + zlib.crc32(body).to_bytes(4, "little")


# -- bytes ------------------------------------------------------------------------------------


@given(enhancements)
@example(Enhancement(0, 0, 0, 0, b"", b""))
def test_an_enhancement_comes_back(enhancement: Enhancement) -> None:
    data = enhancement.to_bytes()
    assert Enhancement.from_bytes(data) == enhancement
    payload = len(enhancement.cells) + len(enhancement.latents)
    assert len(data) - payload <= 24


@given(streams, st.lists(enhancements, max_size=4))
def test_a_file_is_its_layers_and_so_is_its_beginning(
    stream: Bitstream, following: list[Enhancement]
) -> None:
    layers = [stream.to_bytes(), *(each.to_bytes() for each in following)]
    for count in range(1, len(layers) + 1):
        data = b"".join(layers[:count])
        assert split_layers(data) == layers[:count]
        assert read_layers(data) == (stream, tuple(following[: count - 1]))


@given(enhancements, st.data())
def test_a_damaged_enhancement_is_an_error(enhancement: Enhancement, data: st.DataObject) -> None:
    good = enhancement.to_bytes()
    bad = bytearray(good)
    if data.draw(st.booleans()):
        bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del bad[data.draw(st.integers(0, len(bad) - 1)) :]
    with pytest.raises(StreamError):
        Enhancement.from_bytes(bytes(bad))


@given(st.binary(max_size=60))
def test_under_a_right_crc_anything_ends_in_an_error_or_has_one_form(body: bytes) -> None:
    data = sealed(MAGIC + b"\x05" + body)
    try:
        parsed = Enhancement.from_bytes(data)
    except StreamError:
        return
    assert parsed.to_bytes() == data


def test_each_fault_of_the_bytes_has_its_error() -> None:
    plain = Enhancement(0x1234, 80, 16, 0x5678, b"abc", b"latents")
    good = plain.to_bytes()
    body = good[:-4]
    for data, error, words in (
        (b"", StreamTruncated, "empty"),
        (b"GIF89a of old", StreamForeign, "no"),
        (STREAM_MAGIC + b"\x05" + bytes(20), StreamForeign, "whole stream"),
        (MAGIC + b"\x04" + bytes(20), StreamVersion, "version 4"),
        (good[:5], StreamTruncated, "header"),
        (good[:-1], StreamCorrupt, "CRC"),
        (sealed(body[:7]), StreamTruncated, "check"),
        (sealed(body + b"!"), StreamMalformed, "goes on"),
        (sealed(body[:-1]), StreamTruncated, "latents"),
        (sealed(body[:5] + b"\xb5" + body[6:]), StreamMalformed, "quality"),
        (sealed(body[:9] + b"\x83\x00" + body[10:]), StreamMalformed, "padded"),
        (sealed(body[:9] + b"\xff\xff\xff\xff\x0f"), StreamTooLarge, "limit"),
    ):
        with pytest.raises(error, match=words):
            Enhancement.from_bytes(data)
    with pytest.raises(StreamTooLarge):
        Enhancement.from_bytes(good, Limits(stream_bytes=10))
    with pytest.raises(StreamMalformed):
        replace(plain, base=-1).to_bytes()


def test_a_file_has_so_many_layers_at_most() -> None:
    stream = Bitstream(b"here", 16, 16, 0, 0, b"", b"")
    layer = Enhancement(0, 9, 0, 0, b"", b"").to_bytes()
    data = stream.to_bytes() + layer * (MAX_LAYERS - 1)
    assert len(split_layers(data)) == MAX_LAYERS
    with pytest.raises(StreamTooLarge, match="layers"):
        split_layers(data + layer)
    with pytest.raises(StreamTooLarge, match="bytes"):
        split_layers(data, Limits(stream_bytes=len(data) - 1))


def test_what_follows_a_stream_and_is_no_enhancement_is_refused() -> None:
    stream = Bitstream(b"here", 16, 16, 0, 0, b"", b"\x01")
    layer = Enhancement(0, 9, 0, 0, b"", b"\x02").to_bytes()
    for tail, error in (
        (b"rubbish", StreamCorrupt),
        (layer[:-3], StreamCorrupt),
        (layer + b"rubbish", StreamForeign),
    ):
        with pytest.raises(error):
            read_layers(stream.to_bytes() + tail)
    with pytest.raises(StreamMalformed, match=f"layers follow.* first {len(stream.to_bytes())} "):
        Bitstream.from_bytes(stream.to_bytes() + layer)
    damaged = bytearray(stream.to_bytes() + layer)
    damaged[4] ^= 1
    with pytest.raises(StreamCorrupt):
        read_layers(bytes(damaged))


# -- cells ------------------------------------------------------------------------------------


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from(CELLS), st.data())
def test_cells_come_back(width: int, height: int, cell: int, data: st.DataObject) -> None:
    rows, columns = cell_shape(width, height, cell)
    place = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    places = data.draw(st.sets(place, min_size=1, max_size=6))
    cells = Cells.at(places, width, height, cell)
    decoded = Cells.decode(cells.encode(), width, height)
    assert decoded.cell == cell
    assert {(r, c) for r, c in np.argwhere(decoded.chosen).tolist()} == places
    mask = decoded.mask(width, height)
    assert mask.shape == latent_shape(width, height)
    assert {(r * 16 // cell, c * 16 // cell) for r, c in np.argwhere(mask).tolist()} == places


def test_a_rectangle_of_cells_takes_a_few_bytes() -> None:
    sizes = []
    for top in range(6):
        for left in range(6):
            places = [(top + r, left + c) for r in range(3) for c in range(2)]
            sizes.append(len(Cells.at(places, 256, 256).encode()))
    assert np.mean(sizes) < 4


def test_cells_that_cannot_be_are_errors() -> None:
    for places in ([], [(0, 5)], [(-1, 0)], [(3, 0)]):
        with pytest.raises(EnhancementCells):
            Cells.at(places, *SIZE)
    with pytest.raises(EnhancementCells, match="48 pixels"):
        Cells.at([(0, 0)], *SIZE, cell=48)
    with pytest.raises(EnhancementCells, match="not those"):
        Cells.at([(0, 0)], *SIZE).mask(256, 256)
    values = np.ones(cell_shape(*SIZE, 32), np.uint8)
    for payload in (
        b"",
        b"\x01\x00",
        b"\x07" * 30,
        LevelMap(values, 32, 3, 30).encode(),
        LevelMap(values, 32, 2, 25).encode(),
        LevelMap(0 * values, 32, 2, 30).encode(),
    ):
        with pytest.raises(EnhancementCells):
            Cells.decode(payload, *SIZE)


# -- what is known ----------------------------------------------------------------------------


def coded(model: EntropyModel, seed: int, code: int = 40) -> tuple[np.ndarray, Bitstream]:
    """A random latent and its stream, with a level map."""
    chance = np.random.default_rng(seed)
    spread = np.exp(chance.normal(2, 2, (model.latent_channels, 1, 1)))
    shape = (model.latent_channels, *latent_shape(*SIZE))
    latent = (chance.laplace(0, 1, shape) * spread).astype(np.float32)
    level_map = LevelMap(chance.integers(0, 2, cell_shape(*SIZE, 16)).astype(np.uint8), 16, 2)
    made = model.encode(latent, level_map.codes(code, *SIZE), code)
    stream = Bitstream(b"here", *SIZE, code, made.check, level_map.encode(), made.payload)
    return latent, stream


def enhanced(
    model: EntropyModel, latent: np.ndarray, known: Known, cells: Cells | None, code: int
) -> Enhancement:
    codes, mask = known.plan(cells, code, model)
    made = model.encode(latent, codes, code, before=known.latents, mask=mask, price_before=USUAL)
    payload = b"" if cells is None else cells.encode()
    return Enhancement(known.check, code, USUAL, made.check, payload, made.payload)


def test_layers_make_chosen_cells_finer_and_leave_the_others(continuing: EntropyModel) -> None:
    latent, stream = coded(continuing, 1)
    known = Known.read(stream, continuing)
    cells = Cells.at([(0, 1), (1, 3), (2, 4)], *SIZE)
    first = enhanced(continuing, latent, known, cells, 90)
    after = known.continued(first, continuing)
    mask = cells.mask(*SIZE)
    np.testing.assert_array_equal(after.latents.codes[mask], 90)
    np.testing.assert_array_equal(after.latents.codes[~mask], known.latents.codes[~mask])
    before, now = known.latent(continuing), after.latent(continuing)
    np.testing.assert_array_equal(now[:, ~mask], before[:, ~mask])
    error, finer = (np.abs(each - latent)[:, mask].mean() for each in (before, now))
    assert finer < error

    second = enhanced(continuing, latent, after, None, 60)
    last = after.continued(second, continuing)
    assert known.level_map is not None
    # What was made finer than its level map says stays so.
    wanted = np.maximum(known.level_map.codes(60, *SIZE), after.latents.codes)
    np.testing.assert_array_equal(last.latents.codes, wanted)
    data = stream.to_bytes() + first.to_bytes() + second.to_bytes()
    again = Known.read(*_read(data, continuing))
    np.testing.assert_array_equal(again.latents.values, last.latents.values)


def _read(
    data: bytes, model: EntropyModel
) -> tuple[Bitstream, EntropyModel, tuple[Enhancement, ...]]:
    stream, following = read_layers(data)
    return stream, model, following


def test_each_thing_that_does_not_go_together_has_its_error(continuing: EntropyModel) -> None:
    latent, stream = coded(continuing, 2)
    known = Known.read(stream, continuing)
    cells = Cells.at([(1, 1), (1, 2)], *SIZE)
    good = enhanced(continuing, latent, known, cells, 100)
    after = known.continued(good, continuing)
    other = Known.read(coded(continuing, 3)[1], continuing)
    for place, bad, error in (
        (other, good, EnhancementForeign),
        (after, good, EnhancementForeign),  # twice
        (other, replace(good, base=other.check), DecoderMismatch),
        (known, replace(good, cells=b"\x07" * 30), EnhancementCells),
        (known, replace(good, cells=Cells.at([(0, 0)], *SIZE).encode()), DecoderMismatch),
        (known, replace(good, quality_code=0), EnhancementCoarse),
        (known, replace(good, quality_code=99), DecoderMismatch),
        (known, replace(good, price_before=0), DecoderMismatch),
        (known, replace(good, check=good.check ^ 1), DecoderMismatch),
        (known, replace(good, latents=good.latents[:-1]), DecoderMismatch),
    ):
        with pytest.raises(error):
            place.continued(bad, continuing)
    with pytest.raises(EnhancementCells):
        known.plan(Cells.at([(0, 0)], 256, 256), 100, continuing)
    with pytest.raises(EnhancementCoarse):
        known.plan(None, 40, continuing)


def test_a_codec_that_continues_nothing_says_so(network: dict[str, np.ndarray]) -> None:
    plain = EntropyModel({n: a for n, a in network.items() if not n.startswith("before1.")})
    known = Known.read(coded(plain, 4)[1], plain)
    with pytest.raises(EnhancementError, match="not made to continue"):
        known.plan(None, 100, plain)
