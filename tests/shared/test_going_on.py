"""Payloads that go on from latents which the reader has: of some places alone, layer on layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.coding.integer_layers import CODES, SCALES
from shared.coding.integer_network import Before
from shared.coding.intervals import USUAL, WIDEST, ZONES, allowed, signed_scales_of
from shared.entropy_model import EntropyModel
from shared.errors import DecoderMismatch

Arrays = dict[str, np.ndarray]

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
seeds = st.integers(0, 2**32 - 1)


def drawn(model: EntropyModel, shape: tuple[int, int], seed: int) -> np.ndarray:
    """A random latent f32 [C, h, w] with heavy tails."""
    chance = np.random.default_rng(seed)
    spread = np.exp(chance.normal(2, 2, (model.latent_channels, 1, 1)))
    latent = chance.laplace(0, 1, (model.latent_channels, *shape)) * spread
    return latent.astype(np.float32)


def coded(
    model: EntropyModel,
    latent: np.ndarray,
    codes: np.ndarray,
    before: Before | None = None,
    mask: np.ndarray | None = None,
    price: int = 0,
) -> tuple[Before, bytes]:
    """What a reader has after another payload, read and kept alike, and the payload."""
    made = model.encode(latent, codes, 60, before=before, mask=mask, price_before=price, keep=True)
    read = model.read(made.payload, made.check, codes, 60, before, mask, price)
    assert made.symbols is not None
    for name in ("hyper", "values", "means", "signed_scales"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made.symbols, name))
    return model.before(read, codes, before, mask), made.payload


@given(shapes, seeds)
@example((1, 1), 0)
@example((2, 9), 1)
def test_layers_and_places_go_on_exactly(
    continuing: EntropyModel, shape: tuple[int, int], seed: int
) -> None:
    chance = np.random.default_rng(seed)
    latent = drawn(continuing, shape, seed)
    known, _ = coded(continuing, latent, chance.integers(0, 60, shape))
    for _ in range(3):
        codes = chance.integers(0, CODES, shape)
        mask = chance.random(shape) < chance.random()
        price = int(chance.choice([0, USUAL, 255]))
        after, payload = coded(continuing, latent, codes, known, mask, price)
        np.testing.assert_array_equal(after.values[~mask], known.values[~mask])
        np.testing.assert_array_equal(after.codes, np.where(mask, codes, known.codes))
        np.testing.assert_array_equal(after.hyper, known.hyper)
        if not mask.any():
            assert payload == b""
        known = after


@given(shapes, seeds)
def test_a_mask_of_everything_is_none(
    continuing: EntropyModel, shape: tuple[int, int], seed: int
) -> None:
    latent = drawn(continuing, shape, seed)
    chance = np.random.default_rng(seed)
    known, _ = coded(continuing, latent, chance.integers(0, 60, shape))
    codes = chance.integers(60, CODES, shape)
    whole = np.ones(shape, bool)
    alone = continuing.encode(latent, codes, 60, before=known)
    assert continuing.encode(latent, codes, 60, before=known, mask=whole) == alone


def test_neighbours_that_stay_are_seen(continuing: EntropyModel) -> None:
    """Of two bases that differ beside the mask alone, the payloads differ."""
    latent, shape = drawn(continuing, (4, 4), 3), (4, 4)
    known, _ = coded(continuing, latent, np.full(shape, 40))
    mask = np.zeros(shape, bool)
    mask[1:, 1:] = True
    fine = np.full(shape, 90)
    payload = continuing.encode(latent, fine, 60, before=known, mask=mask).payload
    other = known.values.copy()
    other[0, 0] *= -1
    moved = Before(other, known.codes, known.hyper)
    assert continuing.encode(latent, fine, 60, before=moved, mask=mask).payload != payload


def test_latents_far_from_a_mask_are_not_looked_at(continuing: EntropyModel) -> None:
    """So the time that it takes follows from the mask."""
    shape = (12, 12)
    latent = drawn(continuing, shape, 4)
    known, _ = coded(continuing, latent, np.full(shape, 40))
    mask = np.zeros(shape, bool)
    mask[1:3, 1:3] = True
    fine = np.full(shape, 90)
    wanted = continuing.encode(latent, fine, 60, before=known, mask=mask)
    values = known.values.copy()
    values[4:] = 7**9
    hyper = np.array(known.hyper)
    hyper[2:] = -99
    latent[:, 3:] = np.inf
    other = continuing.encode(
        latent, fine, 60, before=Before(values, known.codes, hyper), mask=mask
    )
    assert other.payload == wanted.payload


def test_the_latent_of_a_picture_is_what_decode_gives(continuing: EntropyModel) -> None:
    codes = np.random.default_rng(5).integers(0, CODES, (5, 7))
    made = continuing.encode(drawn(continuing, (5, 7), 5), codes, 60)
    known = continuing.before(continuing.read(made.payload, made.check, codes, 60), codes)
    wanted = continuing.decode(made.payload, made.check, codes, 60)
    np.testing.assert_array_equal(continuing.latent(known), wanted)


def test_what_is_neither_coded_nor_there_is_refused(continuing: EntropyModel) -> None:
    latent, codes = drawn(continuing, (3, 3), 6), np.full((3, 3), 60)
    known, _ = coded(continuing, latent, codes)
    mask = np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="not there before"):
        continuing.encode(latent, codes, 60, mask=mask)
    holes = Before(known.values, np.where(mask, 60, -1), known.hyper)
    with pytest.raises(ValueError, match="not there before"):
        continuing.encode(latent, codes, 60, before=holes, mask=mask)
    inside = Before(known.values, np.where(mask, -1, 60), known.hyper)
    continuing.encode(latent, codes, 60, before=inside, mask=mask)


def test_a_base_leaves_few_symbols_and_the_right_one(continuing: EntropyModel) -> None:
    """So what is told costs nothing but bytes that are saved."""
    shape = (6, 6)
    # Of a size at which most symbols are small, as those of pictures are.
    latent = drawn(continuing, shape, 10).clip(-300, 300)
    known, _ = coded(continuing, latent, np.full(shape, 40))
    fine = np.full(shape, 90)
    (plain, much), (allowed_few, little) = (
        coded(continuing, latent, fine, known, price=price) for price in (0, USUAL)
    )
    assert len(little) < 0.98 * len(much)
    error, same = (np.abs(continuing.latent(each) - latent) for each in (plain, allowed_few))
    assert same.mean() < 1.01 * error.mean()


def test_what_a_base_allows_holds_every_symbol_that_fits() -> None:
    """Quantisers as the encoder has them, in floats, at all scales: the interval never lies."""
    chance = np.random.default_rng(0)
    count = 20_000
    index, finer = chance.integers(1, SCALES, (2, count))
    mean, own_mean = chance.integers(-2047, 2048, (2, count))
    steps, own_steps = np.full(count, 90_000), chance.integers(3_584, 90_000, count)
    latent = (mean / 16 + chance.laplace(0, 1, count)) * steps / 256

    def quantised(mean: np.ndarray, index: np.ndarray, steps: np.ndarray) -> np.ndarray:
        distance = latent * 256 / steps - mean / 16
        zone = ZONES[index] / 256
        return np.floor(distance - np.clip(distance, -zone, zone) + 0.5).astype(np.int64)

    coarse, fine = quantised(mean, index, steps), quantised(own_mean, finer, own_steps)
    values = (16 * coarse + mean) * steps
    low, left = allowed(
        signed_scales_of(coarse, index), values, steps, own_steps, own_mean, finer, USUAL
    )
    few = left > 0
    assert few.mean() > 0.5
    assert left.max() <= WIDEST
    assert (fine >= low)[few].all()
    assert (fine < low + left)[few].all()
    untold = np.zeros(count, np.uint8)
    assert not allowed(untold, values, steps, own_steps, own_mean, finer, USUAL)[1].any()


def test_another_base_mask_or_quality_is_a_mismatch(continuing: EntropyModel) -> None:
    shape = (4, 5)
    latent = drawn(continuing, shape, 7)
    known, _ = coded(continuing, latent, np.full(shape, 30))
    other, _ = coded(continuing, drawn(continuing, shape, 8), np.full(shape, 30))
    mask = np.random.default_rng(7).random(shape) < 0.6
    fine = np.full(shape, 110)
    made = continuing.encode(latent, fine, 60, before=known, mask=mask)
    for codes, before, places in (
        (fine, other, mask),
        (fine, known, ~mask),
        (fine + 9, known, mask),
        (fine, known, None),
        (fine, Before(known.values, known.codes), mask),  # its hyper latent is expected
    ):
        with pytest.raises(DecoderMismatch):
            continuing.read(made.payload, made.check, codes, 60, before, places)


def test_a_network_that_was_not_made_for_it_refuses(network: Arrays) -> None:
    plain = EntropyModel({n: a for n, a in network.items() if not n.startswith("before1.")})
    latent, codes = drawn(plain, (2, 2), 9), np.full((2, 2), 60)
    known, _ = coded(plain, latent, codes)
    with pytest.raises(ValueError, match="not made to go on"):
        plain.encode(latent, codes, 60, before=known)
