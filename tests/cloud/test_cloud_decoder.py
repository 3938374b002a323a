"""The decoder gives back what training sees: same latents, same picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cloud_server.inference.decoder import Decoder
from edge_client.coding.encoder import Encoder
from shared import bundle as bundles
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.entropy_model import EntropyModel
from shared.level_map import LevelMap, cell_shape, read_codes
from shared.nets.codec import Codec, NetConfig, save_synthesis
from shared.nets.rate import Rate

WIDTH, HEIGHT = 80, 112
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A small codec with random weights, its residual branches and entropy network included."""
    torch.manual_seed(0)
    codec = Codec(NetConfig(analysis_width=32, synthesis_width=32, synthesis_blocks=2)).eval()
    with torch.no_grad():
        for branch in (codec.analysis.leave, codec.synthesis.leave):
            branch.weight.normal_(0.0, 0.01)
    return codec


@pytest.fixture(scope="module")
def small(codec: Codec, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of that codec, as the export makes it."""
    from training.bundle.codec import entropy_arrays

    root = tmp_path_factory.mktemp("bundle")
    np.savez_compressed(root / bundles.ENTROPY, **entropy_arrays(codec))
    save_synthesis(codec.synthesis, root / bundles.DECODER)
    names = [bundles.ENTROPY, bundles.DECODER]
    files = bundles.describe_files(root, names, [bundles.ENTROPY])
    manifest = bundle.manifest.model_copy(
        update={
            "files": files,
            "codec": bundles.CodecSettings(latent_channels=codec.config.latent_channels),
        }
    )
    (root / bundles.MANIFEST).write_text(manifest.model_dump_json())
    return Bundle.open(root)


@pytest.mark.parametrize("base", [20, 60, 140])
@torch.no_grad()
def test_decoded_is_what_training_computes(codec: Codec, small: Bundle, base: int) -> None:
    generator = torch.Generator().manual_seed(base)
    coarse = torch.rand(1, 3, 7, 5, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    shape = cell_shape(WIDTH, HEIGHT, 32)
    levels = np.random.default_rng(base).integers(0, 3, shape).astype(np.uint8)
    level_map = LevelMap(levels, 32, 3, 30)
    codes = level_map.codes(base, WIDTH, HEIGHT)
    batch = torch.from_numpy(codes).float().unsqueeze(0)
    wanted = codec(picture, batch, torch.tensor([float(base)]), Rate().eval())

    model = EntropyModel.load(small.path(bundles.ENTROPY))
    coded = model.encode(codec.analysis(picture)[0].numpy(), codes, base)
    sent = Bitstream(small.id, WIDTH, HEIGHT, base, coded.check, level_map.encode(), coded.payload)
    decoded = Decoder(small, CPU).decode(Bitstream.from_bytes(sent.to_bytes()))

    torch.testing.assert_close(decoded.latent, wanted.latent[0], atol=1e-2, rtol=1e-4)
    assert np.array_equal(decoded.codes, codes)
    assert decoded.level_map is not None
    assert np.array_equal(decoded.level_map.values, levels)
    shown = torch.from_numpy(decoded.picture).permute(2, 0, 1) / 255
    assert abs(_psnr(shown, picture[0]) - _psnr(wanted.picture[0].clamp(0, 1), picture[0])) < 0.1


def test_the_products_of_torch_are_those_of_numpy(bundle: Bundle, encoder: Encoder) -> None:
    """Also where somebody lets torch round the factors of its products to bfloat16."""
    picture = np.random.default_rng(2).integers(0, 255, (90, 130, 3)).astype(np.uint8)
    stream = encoder.analyse(picture).code(6.0)
    by_numpy = EntropyModel.load(bundle.path(bundles.ENTROPY))
    args = (stream.latents, stream.check, read_codes(stream)[0], stream.quality_code)
    expected = by_numpy.read(*args)
    before = torch.get_float32_matmul_precision()
    try:
        for precision in ("highest", "medium"):
            torch.set_float32_matmul_precision(precision)
            by_torch = Decoder(bundle, CPU).entropy.read(*args)
            for name in ("hyper", "values", "means"):
                assert np.array_equal(getattr(by_torch, name), getattr(expected, name)), precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_padding_is_cropped(bundle: Bundle, encoder: Encoder) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (37, 50, 3)).astype(np.uint8)
    decoded = Decoder(bundle, CPU).decode(encoder.analyse(picture).code(5.0))
    assert decoded.picture.shape == (37, 50, 3)
    assert decoded.latent.shape[1:] == (3, 4)


def test_pictures_restored_together_are_those_restored_alone(
    bundle: Bundle, encoder: Encoder
) -> None:
    decoder = Decoder(bundle, CPU)
    chance = np.random.default_rng(0)
    shapes = ((60, 80), (64, 70), (50, 65))
    pictures = [chance.integers(0, 255, (*shape, 3)).astype(np.uint8) for shape in shapes]
    read = [decoder.read(encoder.analyse(picture).code(q)) for q, picture in enumerate(pictures, 3)]
    for decoded, latents, shape in zip(decoder.restore(read), read, shapes, strict=True):
        (alone,) = decoder.restore([latents])
        assert decoded.picture.shape == (*shape, 3)
        assert np.abs(decoded.picture.astype(int) - alone.picture).max() <= 1
        assert torch.equal(decoded.latent, alone.latent)


def test_tiles_leave_no_seams(
    bundle: Bundle, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (150, 180, 3)).astype(np.uint8)
    decoder = Decoder(bundle, CPU)
    latents = decoder.read(encoder.analyse(picture).code(6.0))
    (whole,) = decoder.restore([latents])
    monkeypatch.setattr("cloud_server.inference.decoder.TILE", 4)
    (tiled,) = decoder.restore([latents])
    assert np.abs(whole.picture.astype(int) - tiled.picture).max() <= 1
    assert (whole.picture != tiled.picture).mean() < 1e-3


def test_the_embedded_bundle_restores_a_picture(bundle: Bundle, encoder: Encoder) -> None:
    y, x = np.mgrid[0:64, 0:96]
    picture = np.stack([2 * x, 3 * y, 255 - x - y], axis=-1).clip(0, 255).astype(np.uint8)
    decoder = Decoder(bundle, CPU)
    low, high = (
        _psnr(
            torch.from_numpy(decoder.decode(encoder.analyse(picture).code(quality)).picture) / 255,
            torch.from_numpy(picture) / 255,
        )
        for quality in (1.0, 8.0)
    )
    assert high > max(28, low)


def _psnr(decoded: torch.Tensor, original: torch.Tensor) -> float:
    return float(-10 * torch.log10((decoded - original).square().mean()))
