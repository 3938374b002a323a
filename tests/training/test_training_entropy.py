"""The entropy network's trainer: an exact twin, the price of an error, latents drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.coding.integer_layers import STEP_UNIT
from shared.coding.integer_network import Before as KnownBefore
from shared.entropy_model import EntropyModel
from shared.errors import DecoderMismatch
from shared.nets.codec import Codec, NetConfig
from shared.nets.entropy import Before
from shared.nets.rate import Rate
from training.bundle.codec import entropy_arrays
from training.codec import entropy
from training.codec.entropy import LatentPool, energy_gains


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(NetConfig(analysis_width=16, analysis_blocks=1, synthesis_blocks=1)).eval()
    for name, layer in codec.entropy.layers().items():
        if name.partition(".")[0] in ("own", "before", "gate"):  # which start at zero
            nn.init.normal_(layer.weight, std=0.3)
    return codec


def latents(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Of heavy tails, f32 [1, 192, h, w], and quality codes [1, h, w] that belong to no map."""
    chance = torch.Generator().manual_seed(shape[0])
    spread = torch.exp(3.0 + 1.5 * torch.randn(1, 192, 1, 1, generator=chance))
    latent = torch.randn(1, 192, *shape, generator=chance) * spread
    return latent, torch.randint(0, 181, (1, *shape), generator=chance)


@pytest.fixture(scope="module")
def model(codec: Codec) -> EntropyModel:
    return EntropyModel({name: np.asarray(a) for name, a in entropy_arrays(codec).items()})


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1), (7, 5), (16, 16)])
@torch.no_grad()
def test_the_trained_network_is_the_integer_network(
    codec: Codec, model: EntropyModel, shape: tuple[int, int]
) -> None:
    """Of random weights and heavy tails: no sum or rounding differs by the last bit."""
    latent, codes = latents(shape)
    twin, _, _ = codec.code_latent(latent, codes.float(), torch.tensor([60.0]), Rate().eval())
    coded = model.encode(latent[0].numpy(), codes[0].numpy(), 60)
    decoded = model.decode(coded.payload, coded.check, codes[0].numpy(), 60)
    np.testing.assert_allclose(decoded, twin[0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1), (7, 5), (16, 16)])
@torch.no_grad()
def test_it_goes_on_exactly_from_what_the_reader_has(
    codec: Codec, model: EntropyModel, shape: tuple[int, int]
) -> None:
    rate = Rate().eval()
    latent, codes = latents(shape)
    coarse = (codes - 60).clamp_min(0)
    base = torch.tensor([20.0])
    twin_before = codec.before(latent, coarse.float(), base, rate)
    first = model.encode(latent[0].numpy(), coarse[0].numpy(), 20)
    read = model.read(first.payload, first.check, coarse[0].numpy(), 20)
    before = model.before(read, coarse[0].numpy())
    np.testing.assert_array_equal(np.moveaxis(before.values, -1, 0), twin_before.values[0])

    hole = np.zeros(shape, bool)
    hole[: shape[0] // 2] = True
    hyper = before.hyper if shape[0] % 2 else None
    before = KnownBefore(before.values, np.where(hole, -1, before.codes), hyper)
    twin_before = replace(
        twin_before,
        codes=torch.where(torch.from_numpy(hole), -1.0, twin_before.codes),
        hyper=twin_before.hyper if shape[0] % 2 else None,
    )
    twin, _, _ = codec.code_latent(latent, codes.float(), base, rate, before=twin_before)
    fine = codes[0].numpy()
    second = model.encode(latent[0].numpy(), fine, 20, before=before)
    again = model.before(model.read(second.payload, second.check, fine, 20, before), fine)
    steps = codec.steps()[codes[0]].numpy().astype(np.int64)
    wanted = np.round(twin[0].permute(1, 2, 0).double().numpy() * 4096 / steps) * steps
    np.testing.assert_array_equal(again.values, wanted)
    alone = model.encode(latent[0].numpy(), fine, 20)
    assert alone.payload != second.payload
    if not hole.all():
        with pytest.raises(DecoderMismatch):
            model.read(second.payload, second.check, fine, 20)


@torch.no_grad()
def test_what_goes_on_from_nothing_starts_as_the_network_without(codec: Codec) -> None:
    """New layers of weight zero: what was trained without them stays as it is."""
    fresh = Codec(codec.config).eval()
    latent, codes = latents((6, 5))
    nothing = Before(torch.zeros_like(latent).double(), torch.full_like(codes, -1))
    args = (latent, codes.float(), torch.tensor([60.0]), Rate().eval())
    alone, from_nothing = fresh.code_latent(*args), fresh.code_latent(*args, before=nothing)
    assert all(torch.equal(a, b) for a, b in zip(alone, from_nothing, strict=True))


@torch.no_grad()
def test_what_a_base_tells_of_a_latent_need_not_be_coded(codec: Codec) -> None:
    """The latents lie between the bounds, and the bits that these save are never more than all."""
    latent, codes = latents((6, 5))
    rate, base = Rate().eval(), torch.tensor([40.0])
    before = codec.before(latent, torch.full_like(codes, 40).float(), base, rate)
    assert before.bounds is not None
    low, high = before.bounds / STEP_UNIT
    assert (low - 0.01 <= latent).all()
    assert (latent <= high + 0.01).all()
    fine = (latent, torch.full_like(codes, 100).float(), torch.tensor([100.0]), rate)
    _, bits, _ = codec.code_latent(*fine, before=before)
    _, plain, _ = codec.code_latent(*fine, before=Before(before.values, before.codes, before.hyper))
    assert (bits > 0).all()
    assert bits.sum() < 0.95 * plain.sum()


@torch.no_grad()
def test_numbers_between_the_knots_follow_from_those_that_a_bundle_holds(codec: Codec) -> None:
    """So the integers of a bundle come back when it becomes a run again."""
    torch.manual_seed(4)
    trained = Codec(codec.config)
    trained.log_gain.add_(0.3 * torch.randn_like(trained.log_gain))
    trained.hyper_scale.add_(0.3 * torch.randn_like(trained.hyper_scale))
    wanted = entropy_arrays(trained)
    restored = Codec(codec.config)
    restored.log_gain.copy_((STEP_UNIT / torch.from_numpy(wanted["steps"][::20])).log())
    restored.hyper_scale.copy_(torch.from_numpy(wanted["hyper_scales"][::20]) / 32.0)
    restored_arrays = entropy_arrays(restored)
    for name in ("steps", "hyper_scales"):
        np.testing.assert_array_equal(restored_arrays[name], wanted[name])


def test_quantiser_steps_are_whole_and_fall_with_quality(codec: Codec) -> None:
    steps = codec.steps().detach()
    assert torch.equal(steps, steps.round())
    assert (steps.diff(dim=0) <= 0).all()
    assert steps[[0, 180], 0].tolist() == pytest.approx([256 * 420, 256 * 14], abs=1)
    codec.steps_at(torch.tensor([[[60.0]]])).sum().backward()
    assert codec.log_gain.grad is not None
    assert (codec.log_gain.grad[3] < 0).all()
    codec.log_gain.grad = None


def test_an_error_of_an_orthonormal_transform_costs_its_square(codec: Codec) -> None:
    torch.manual_seed(0)
    gains = 3 * 16**2 * energy_gains(codec, torch.randn(4, 192, 8, 8))
    # The transform starts with 160 channels; those of the network alone do not yet show.
    torch.testing.assert_close(gains[:160], torch.ones(160), rtol=0.15, atol=0.0)
    assert not gains[160:].any()


def test_a_pool_draws_what_it_was_given_last(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    def pictures() -> Iterator[Tensor]:
        for number in range(1_000):
            yield torch.full((2, 3, 32, 32), number / 1_000)

    monkeypatch.setattr(entropy, "FIRST", 4)
    monkeypatch.setattr(entropy, "POOL", 6)
    source = pictures()
    pool = LatentPool(codec, source, torch.Generator().manual_seed(0))
    for drawn in range(3, 40):
        latent = pool.batch(8)
        assert latent.shape == (8, 192, 2, 2)
        of_last = codec.analysis(torch.full((1, 3, 32, 32), (drawn - 3) / 1_000)).half()[0, 0, 0, 0]
        assert latent[:, 0].min() >= of_last
    assert next(source)[0, 0, 0, 0] == pytest.approx(0.039)
