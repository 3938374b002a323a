"""The synthesis as the cloud runs it: what training sees, in less time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from cloud_server.inference.decoder import Decoder
from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.load import Weights
from cloud_server.inference.work import Work
from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import load
from shared import bundle as bundles
from shared.bundle import Bundle
from shared.nets import fast_synthesis
from shared.nets.codec import NetConfig, Synthesis, load_synthesis
from shared.nets.fast_synthesis import FastSynthesis, dtype_of

CPU = torch.device("cpu")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8)])
@torch.inference_mode()
def test_in_float32_it_is_the_trained_synthesis(bundle: Bundle, shape: tuple[int, int]) -> None:
    chance = torch.Generator().manual_seed(1)
    latent = 40 * torch.randn(2, 192, *shape, generator=chance)
    codes = torch.randint(0, 181, (2, *shape), generator=chance)
    before = latent.clone()
    trained = load_synthesis(bundle.path(bundles.DECODER))
    fast = FastSynthesis(trained)(latent, codes)
    torch.testing.assert_close(fast, trained(latent, codes), atol=2e-5, rtol=0.0)
    assert torch.equal(latent, before)


def test_the_linear_path_is_the_transposed_convolution() -> None:
    synthesis = Synthesis(NetConfig(latent_channels=24, synthesis_blocks=1))
    torch.nn.init.normal_(synthesis.linear.weight, std=0.1)
    latent = torch.randn(1, 24, 3, 2)
    wanted = synthesis.linear(latent / 255) + 0.5  # the residual path starts at zero
    torch.testing.assert_close(synthesis(latent, torch.zeros(1, 3, 2)), wanted)


@pytest.mark.parametrize("name", ["astronaut", "page"])
def test_bfloat16_shows_the_same_picture(bundle: Bundle, encoder: Encoder, name: str) -> None:
    picture = getattr(data, name)()[:191, :250]
    picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    exact, quick = (Decoder(bundle, CPU, precision) for precision in ("float32", "bfloat16"))
    for quality in (1.0, 5.0, 9.0):
        read = exact.read(encoder.analyse(picture).code(quality))
        (wanted,), (rounded,) = exact.restore([read]), quick.restore([read])
        assert torch.equal(rounded.latent, wanted.latent)
        assert np.abs(rounded.picture.astype(int) - wanted.picture).mean() < 1
        assert _psnr(rounded.picture, picture) > _psnr(wanted.picture, picture) - 0.02


def test_an_adapter_in_bfloat16_gives_the_same_answers(bundle: Bundle, encoder: Encoder) -> None:
    """On the example questions, greedily; its tokens are near those in float32."""
    questions = json.loads((EXAMPLES / "questions.json").read_text())
    streams = {
        name: encoder.analyse(load(EXAMPLES / f"{name}.png")).code(bundle.manifest.quality)
        for name in questions
    }
    answers, tokens = [], []
    for precision in ("float32", "bfloat16"):
        weights = Weights(adapter=precision)  # type: ignore[arg-type]
        engine = Engine([bundle], "", "cpu", 1, weights=weights, synthesis="float32")
        backend = engine.backend
        assert isinstance(backend, ImageText)
        decoded = Decoder(bundle, CPU, "float32").decode(streams["street"])
        with torch.inference_mode():
            tokens.append(backend.tower._adapters.tokens([decoded]))
        works = [
            Work(streams[name], question["prompt"], 8)
            for name, asked in questions.items()
            for question in asked
        ]
        engine.run(works)
        answers.append([work.answer.text if work.answer else work.error for work in works])
    assert answers[0] == answers[1]
    wanted, rounded = tokens
    assert wanted is not None
    assert rounded is not None
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - wanted).norm() / wanted.norm()) < 0.03


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ({}, torch.float32),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_the_processor_chooses(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(fast_synthesis, "_capabilities", lambda: said)
    assert dtype_of("auto", CPU) == dtype
    assert dtype_of("auto", torch.device("cuda")) == torch.float32
    assert dtype_of("float32", CPU) == torch.float32
    assert dtype_of("bfloat16", CPU) == torch.bfloat16


def _psnr(decoded: np.ndarray, original: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(decoded / 255 - original / 255).mean()))
