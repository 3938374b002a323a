"""What the codec learns from: crops of three worlds, and latents that a reader has before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shared.bundle import ENTROPY, Bundle, open_bundle
from shared.coding.integer_layers import knows_before
from shared.entropy_model import EntropyModel
from shared.errors import UsageError
from shared.level_map import flat_codes
from shared.nets.codec import Codec, NetConfig
from shared.nets.rate import Rate
from tests.training.conftest import Train
from training.codec.continuing import draw
from training.codec.crops import PageStream, Shares, training_batches
from training.codec.trainer import loss_of, random_codes

SIDE = 64


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    return Codec(NetConfig(analysis_width=16, analysis_blocks=1, synthesis_blocks=1))


@pytest.mark.parametrize("shares", [Shares(0, 0), Shares(1, 0), Shares(0, 1), Shares(0.4, 0.4)])
def test_batches_of_any_mixture_are_pictures(photographs: Path, shares: Shares) -> None:
    def batches(seed: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        source = training_batches(photographs, shares, 3, SIDE, rng, lambda first: first, 7)
        return torch.stack([next(source), next(source)])

    batch = batches(0)
    assert batch.shape == (2, 3, 3, SIDE, SIDE)
    assert batch.dtype == torch.float32
    assert batch.min() >= 0
    assert batch.max() <= 1
    assert torch.equal(batch, batches(0))
    assert not torch.equal(batch, batches(1))


def test_crops_of_pages_are_large_enough_and_go_on(photographs: Path) -> None:
    crops = PageStream("train", photographs).crops(192, np.random.default_rng(0))
    drawn = [next(crops) for _ in range(24)]
    assert {crop.shape for crop in drawn} == {(192, 192, 3)}
    assert len({crop.tobytes() for crop in drawn}) == 24


def test_fonts_that_are_missing_are_told_with_what_to_do(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenes.pages.fonts._packaged", lambda family: None)
    with pytest.raises(UsageError, match=r"cotam\[pages\].*--pages 0"):
        PageStream("train", photographs)


def test_pages_of_validation_are_no_training_pages(photographs: Path) -> None:
    of_training, of_validation = (
        PageStream(split, photographs).page((192, 192)) for split in ("train", "val")
    )
    assert not np.array_equal(of_training, of_validation)


def test_what_a_reader_has_before_saves_bits_once_it_is_told(codec: Codec) -> None:
    """A few steps teach the new layers to use it; the picture is the same in both."""
    chance = torch.Generator().manual_seed(0)
    rate = Rate().train()
    picture = torch.rand(4, 3, SIDE, SIDE, generator=chance)
    codes, base = random_codes(4, SIDE // 16, chance)
    layers = (codec.entropy.before1, codec.entropy.before2, codec.entropy.before)
    layers = (*layers, codec.entropy.gate)
    weights = [p for layer in layers for p in layer.parameters()]
    optimizer = torch.optim.Adam(weights, 0.02)
    bits = []
    for _ in range(12):
        before = draw(codec, codes, base, rate, torch.Generator().manual_seed(1))
        coded = codec(picture, codes, base, rate, before=before)
        loss = loss_of(coded, picture, codes, base)["bpp"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.append(float(loss.detach()))
    assert bits[-1] < bits[0]


def test_draws_are_of_both_kinds_and_have_holes(codec: Codec) -> None:
    chance = torch.Generator().manual_seed(2)
    codes, base = random_codes(2, 6, chance)
    latent = 50 * torch.randn(2, 192, 6, 6, generator=chance)
    rate = Rate().eval()
    drawn = [draw(codec, codes, base, rate, chance)(latent) for _ in range(40)]
    assert all(b.values.dtype == torch.float64 and b.values.shape == latent.shape for b in drawn)
    there = [b.codes >= 0 for b in drawn]
    assert 0 < sum(not t.all() for t in there) < 40
    of_frames = [b for b, t in zip(drawn, there, strict=True) if (b.codes == codes)[t].all()]
    assert 0 < len(of_frames) < 40
    assert {b.hyper is None for b in of_frames} == {True, False}
    assert all(b.hyper is not None for b in drawn if not any(b is f for f in of_frames))


def test_layers_for_latents_known_before_come_into_a_bundle_alone(
    train: Train, tmp_path: Path
) -> None:
    """Whole pictures are coded as ever, and streams of the bundle that it was made of are read."""
    base = open_bundle("tiny-joint")
    train("restore", tmp_path / "runs", bundle="tiny-joint")
    codec = tmp_path / "runs" / "codec"
    train("entropy", tmp_path / "run", codec=codec, continuing=True, batch=2)
    train("export", tmp_path / "mine", continuing=tmp_path / "run", bundle="tiny-joint")

    made = Bundle.open(tmp_path / "mine")
    assert made.manifest.codec.conditional
    assert made.decodes(base.codec_id)
    assert {name for name in made.manifest.files if not _same(name, made, base)} == {ENTROPY}
    codes = flat_codes(60, 96, 64)
    latent = np.random.default_rng(0).normal(0, 40, (192, 4, 6)).astype(np.float32)
    models = [EntropyModel.load(bundle.path(ENTROPY)) for bundle in (base, made)]
    payloads = [model.encode(latent, codes, 60).payload for model in models]
    assert payloads[0] == payloads[1]
    with np.load(made.path(ENTROPY)) as arrays:
        assert knows_before(dict(arrays))

    train("entropy", tmp_path / "all", codec=codec, batch=2)
    with pytest.raises(SystemExit) as stopped:
        train("export", tmp_path / "none", continuing=tmp_path / "all", bundle="tiny-joint")
    assert stopped.value.code == 2
    assert not (tmp_path / "none").exists()


def _same(name: str, bundle: Bundle, other: Bundle) -> bool:
    return bundle.manifest.files[name].sha256 == other.manifest.files[name].sha256
