"""The entropy network's trainer: an exact twin, the price of an error, latents drawn again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.entropy_model import EntropyModel
from shared.nets.codec import Codec, NetConfig
from shared.nets.rate import Rate
from training.bundle.export import entropy_arrays
from training.codec import entropy
from training.codec.entropy import LatentPool, energy_gains


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(NetConfig(analysis_width=16, analysis_blocks=1, synthesis_blocks=1)).eval()
    for name, layer in codec.entropy.layers().items():
        if name.startswith("own"):  # which start at zero
            nn.init.normal_(layer.weight, std=0.3)
    return codec


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1), (7, 5), (16, 16)])
@torch.no_grad()
def test_the_trained_network_is_the_integer_network(codec: Codec, shape: tuple[int, int]) -> None:
    """Of random weights and heavy tails: no sum or rounding differs by the last bit."""
    chance = torch.Generator().manual_seed(shape[0])
    spread = torch.exp(3.0 + 1.5 * torch.randn(1, 192, 1, 1, generator=chance))
    latent = torch.randn(1, 192, *shape, generator=chance) * spread
    codes = 20 * torch.randint(0, 10, (1, *shape), generator=chance)
    twin, _, _ = codec.code_latent(latent, codes.float(), torch.tensor([60.0]), Rate().eval())
    model = EntropyModel({name: np.asarray(a) for name, a in entropy_arrays(codec).items()})
    coded = model.encode(latent[0].numpy(), codes[0].numpy(), 60)
    decoded = model.decode(coded.payload, coded.check, codes[0].numpy(), 60)
    np.testing.assert_allclose(decoded, twin[0].numpy(), rtol=1e-6)


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
