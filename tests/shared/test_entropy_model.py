"""The entropy model: the same bytes and the same symbols, however the sums are made."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.bundle import ENTROPY, Bundle
from shared.coding.integer_layers import CODES, EXACT, GROUPS, PASSES, SCALES, STEP_UNIT
from shared.coding.symbol_coder import BIT_PRICE, TABLE_TOTAL, scale_tables
from shared.entropy_model import SYMBOL_LIMIT, EntropyModel
from shared.errors import BundleCorrupt, DecoderMismatch
from shared.level_map import LevelMap, cell_shape, latent_shape

Arrays = dict[str, np.ndarray]

sides = st.integers(1, 150)
codes = st.integers(0, CODES - 1)
seeds = st.integers(0, 2**32 - 1)


def picture(
    model: EntropyModel, width: int, height: int, base: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random latent f32 [C, h, w] with heavy tails, and its local quality codes i32 [h, w]."""
    chance = np.random.default_rng(seed)
    rows, columns = latent_shape(width, height)
    spread = np.exp(chance.normal(2, 2, (model.latent_channels, 1, 1)))
    latent = chance.laplace(0, 1, (model.latent_channels, rows, columns)) * spread
    levels = chance.integers(0, 3, cell_shape(width, height, 32)).astype(np.uint8)
    return latent.astype(np.float32), LevelMap(levels).codes(base, width, height)


def permuted(arrays: Arrays, seed: int) -> Arrays:
    """The same network with the channels between its layers in random order.

    Each layer then adds up the same products in another order.
    """
    chance = np.random.default_rng(seed)
    out = {name: values.copy() for name, values in arrays.items()}

    def leave(name: str, order: np.ndarray) -> None:
        for kind in ("weight", "bias", "shift"):
            out[f"{name}.{kind}"] = out[f"{name}.{kind}"][..., order]

    def enter(name: str, order: np.ndarray, start: int = 0) -> None:
        weight = out[f"{name}.weight"]
        weight[start : start + len(order)] = weight[start + order]

    def width(name: str) -> int:
        return out[f"{name}.bias"].shape[0]

    order = chance.permutation(width("hyper1"))
    leave("hyper1", order)
    enter("hyper2", order)
    for name, after in (("hyper2", "hyper3"), ("hyper3", "mix")):
        order = chance.permutation(width(name) // 4)
        leave(name, (4 * order[:, None] + np.arange(4)).ravel())
        enter(after, order)
    features, context = (chance.permutation(width(name)) for name in ("mix", "context"))
    leave("mix", features)
    leave("context", context)
    for k, (_, near) in enumerate(PASSES):
        enter(f"hidden.{k}", features)
        for side in range(len(near)):
            enter(f"hidden.{k}", context, len(features) + side * len(context))
        order = chance.permutation(width(f"hidden.{k}"))
        leave(f"hidden.{k}", order)
        for g in range(GROUPS):
            enter(f"mean.{k}.{g}", order)
            enter(f"scale.{k}.{g}", order)
        for g in range(GROUPS - 1):
            leave(f"own.{k}.{g}", order)
    return out


def with_scale(arrays: Arrays, index: int) -> Arrays:
    """The network with every latent at one scale index and a mean of zero."""
    out = dict(arrays)
    for k, g in itertools.product(range(len(PASSES)), range(GROUPS)):
        for name, value in ((f"mean.{k}.{g}", 0), (f"scale.{k}.{g}", index)):
            out[f"{name}.weight"] = np.zeros_like(arrays[f"{name}.weight"])
            out[f"{name}.bias"] = np.full_like(arrays[f"{name}.bias"], value)
            out[f"{name}.shift"] = np.zeros_like(arrays[f"{name}.shift"])
    return out


@pytest.fixture(scope="module")
def others(network: Arrays) -> list[EntropyModel]:
    """The network in wider floats and with its sums in other orders."""
    return [
        EntropyModel(network, np.float64),
        EntropyModel(permuted(network, 1)),
        EntropyModel(permuted(network, 2), np.float64),
    ]


@given(sides, sides, codes, seeds)
@example(1, 1, 0, 0)
@example(17, 1, 180, 1)
@example(1, 100, 60, 2)
@example(256, 256, 90, 3)
def test_every_order_and_width_of_sums_gives_the_same_bytes_and_latents(
    entropy: EntropyModel,
    others: list[EntropyModel],
    width: int,
    height: int,
    base: int,
    seed: int,
) -> None:
    latent, local = picture(entropy, width, height, base, seed)
    coded = entropy.encode(latent, local, base)
    decoded = entropy.decode(coded.payload, coded.check, local, base)
    assert decoded.shape == latent.shape
    assert decoded.dtype == np.float32
    other = others[seed % len(others)]
    assert other.encode(latent, local, base) == coded
    by_other = other.decode(coded.payload, coded.check, local, base)
    np.testing.assert_array_equal(by_other, decoded)


def test_another_process_decodes_the_same(entropy: EntropyModel, bundle: Bundle) -> None:
    latent, local = picture(entropy, 70, 50, 100, 5)
    coded = entropy.encode(latent, local, 100)
    decoded = entropy.decode(coded.payload, coded.check, local, 100)
    script = (
        "import sys, hashlib, pathlib, numpy as np\n"
        "from shared.entropy_model import EntropyModel\n"
        "path, payload, check, codes = sys.argv[1:]\n"
        "codes = np.array([[int(c) for c in row.split(',')] for row in codes.split(';')])\n"
        "model = EntropyModel.load(pathlib.Path(path))\n"
        "latent = model.decode(bytes.fromhex(payload), int(check), codes, 100)\n"
        "print(hashlib.sha256(latent.tobytes()).hexdigest())\n"
    )
    rows = ";".join(",".join(str(code) for code in row) for row in local.tolist())
    completed = subprocess.run(
        [
            *(sys.executable, "-c", script, str(bundle.path(ENTROPY))),
            *(coded.payload.hex(), str(coded.check), rows),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.strip() == hashlib.sha256(decoded.tobytes()).hexdigest()


def gains(network: Arrays) -> np.ndarray:
    """What latents are multiplied with at each quality code, [181, C]."""
    return STEP_UNIT / network["steps"]


@pytest.mark.parametrize("index", [1, 20, 40, 63])
def test_symbols_come_back_exactly_with_and_without_escapes(network: Arrays, index: int) -> None:
    model = EntropyModel(with_scale(network, index))
    chance = np.random.default_rng(index)
    local = np.full((5, 6), 60, np.int32)
    symbols = chance.integers(-3, 4, (model.latent_channels, 5, 6)).astype(np.float32)
    # Every table ends long before the largest symbol: these are escapes at any scale.
    symbols[:, 2, 3] = chance.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT + 1, model.latent_channels)
    symbols[0, 0, 0], symbols[1, 0, 0] = SYMBOL_LIMIT, -SYMBOL_LIMIT
    gain = gains(network)[60].reshape(-1, 1, 1)
    coded = model.encode(symbols / gain, local, 60)
    decoded = model.decode(coded.payload, coded.check, local, 60)
    np.testing.assert_array_equal(np.round(decoded * gain), symbols)
    beyond = model.encode(np.where(symbols == SYMBOL_LIMIT, 1e9, symbols / gain), local, 60)
    decoded = model.decode(beyond.payload, beyond.check, local, 60)
    np.testing.assert_array_equal(np.round(decoded * gain), symbols)


def test_latents_are_within_half_a_step(network: Arrays) -> None:
    model = EntropyModel(with_scale(network, 30))
    latent, local = picture(model, 80, 60, 90, 11)
    coded = model.encode(latent, local, 90)
    decoded = model.decode(coded.payload, coded.check, local, 90)
    gain = np.moveaxis(gains(network)[local], -1, 0)
    inside = np.abs(latent * gain) < SYMBOL_LIMIT
    assert np.abs((decoded - latent) * gain)[inside].max() <= 0.5 + 1e-2


@given(seeds, codes)
def test_a_dearer_bit_drops_what_it_is_said_to(entropy: EntropyModel, seed: int, base: int) -> None:
    latent, quality = picture(entropy, 48, 32, base, seed)
    latent = latent.clip(-2, 2)
    usual = entropy.encode(latent, quality, base)
    assert usual.prices.shape == usual.bits.shape
    assert (usual.bits > 0).all()
    # Where a bit is next to nothing of the distance, float32 does not tell its price.
    assume(len(usual.bits) and usual.bits.min() > 0.02)
    first = float(usual.prices.min())
    assert first > 0.99 * BIT_PRICE
    below = entropy.encode(latent, quality, base, max(0.9 * first, BIT_PRICE))
    assert below == usual
    above = entropy.encode(latent, quality, base, 1.1 * first)
    assert above.payload != usual.payload


def test_scale_index_zero_costs_nothing(network: Arrays) -> None:
    model = EntropyModel(
        with_scale({**network, "hyper_scales": np.zeros_like(network["hyper_scales"])}, 0)
    )
    latent, local = picture(model, 100, 100, 120, 3)
    coded = model.encode(latent, local, 120)
    assert coded.payload == b""
    assert not model.decode(b"", coded.check, local, 120).any()


@given(st.data())
def test_damaged_payloads_are_a_mismatch(entropy: EntropyModel, data: st.DataObject) -> None:
    latent, local = picture(entropy, 64, 40, 60, 1)
    coded = entropy.encode(latent, local, 60)
    payload = bytearray(coded.payload)
    kind = data.draw(st.sampled_from(["byte", "cut", "more", "other"]))
    if kind == "byte":
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    elif kind == "more":
        payload += data.draw(st.binary(min_size=1, max_size=20))
    else:
        payload = bytearray(data.draw(st.binary(max_size=200)))
    check = data.draw(st.sampled_from([coded.check, coded.check ^ 1]))
    try:
        decoded = entropy.decode(bytes(payload), check, local, 60)
    except DecoderMismatch:
        return
    # One in 65,536 damages has the right check; what it gives is still a latent.
    assert decoded.shape == latent.shape
    assert np.isfinite(decoded).all()


def test_a_wrong_size_quality_or_check_is_a_mismatch(entropy: EntropyModel) -> None:
    latent, local = picture(entropy, 64, 48, 60, 2)
    coded = entropy.encode(latent, local, 60)
    with pytest.raises(DecoderMismatch):
        entropy.decode(coded.payload, coded.check ^ 0x8000, local, 60)
    with pytest.raises(DecoderMismatch):
        entropy.decode(coded.payload, coded.check, local.T.copy(), 60)
    with pytest.raises(DecoderMismatch):
        entropy.decode(coded.payload, coded.check, local, 180)


def test_tables_are_whole(network: Arrays) -> None:
    counts, ends = scale_tables()
    np.testing.assert_array_equal(network["tables"], counts)
    np.testing.assert_array_equal(network["table_ends"], ends)
    tables = np.split(counts, ends[:-1])
    assert len(tables) == SCALES
    for table in tables:
        assert table.sum() == TABLE_TOTAL
        assert table.min() >= 1
        np.testing.assert_array_equal(table[:-1], table[-2::-1])


def test_files_that_are_no_network_are_named_corrupt(
    bundle: Bundle, network: Arrays, tmp_path: Path
) -> None:
    raw = bundle.path(ENTROPY).read_bytes()
    flipped = bytearray(raw)
    flipped[5_000] ^= 0xFF
    path = tmp_path / "entropy.npz"
    for content in (b"", b"not a zip", raw[:1_000], raw[:-100], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(BundleCorrupt, match=r"entropy\.npz"):
            EntropyModel.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(BundleCorrupt):
        EntropyModel.load(path)
    with pytest.raises(BundleCorrupt):
        EntropyModel.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": np.zeros(181, np.int32)},
        {"steps": np.ones((181, 10), np.int32)},
        {"hyper_scales": np.zeros((10, 48), np.uint8)},
        {"hyper_scales": np.full((181, 48), 64, np.uint8)},
        {"mix.weight": np.zeros((3, 4), np.int8)},
        {"mix.weight": np.zeros((106, 128), np.float32)},
        {"mix.bias": np.zeros(4, np.int32)},
        {"mix.shift": np.full(128, 24, np.int8)},
        {"mix.bias": np.full(128, EXACT, np.int32)},
        {"tables": np.ones(9_550, np.int32)},
        {"table_ends": np.arange(64, dtype=np.int32)},
        {"mean.2.5.weight": np.zeros((192, 8), np.int8)},
        {"mean.0.0.weight": np.zeros((192, 7), np.int8)},
        {"own.1.0.weight": np.zeros((3, 192), np.int8)},  # without magnitudes
        {"own.3.4.weight": np.zeros((88, 191), np.int8)},
        {"hidden.3.weight": np.zeros((384, 192), np.int8)},  # of four neighbours
        {"steps": np.array([None, "x"], object)},
    ],
)
def test_networks_that_do_not_fit_are_named_corrupt(
    network: Arrays, tmp_path: Path, changed: Arrays
) -> None:
    path = tmp_path / "entropy.npz"
    np.savez(path, **{**network, **changed})
    with pytest.raises(BundleCorrupt):
        EntropyModel.load(path)
    np.savez(path, **{name: a for name, a in network.items() if name not in changed})
    with pytest.raises(BundleCorrupt):
        EntropyModel.load(path)
