"""A bundle whose edge graphs have 8 bits: smaller, near, and as exact on the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import load
from shared.bundle import ENCODER, ENTROPY, GUIDANCE, Bundle
from shared.entropy_model import EntropyModel
from shared.level_map import LevelMap, flat_codes
from shared.nets.codec import Codec, NetConfig
from training.codec.edge_analysis import EdgeAnalysis, undo
from training.codec.quantise import quantise_encoder


@pytest.fixture(scope="module")
def bundles(
    runs: Any,
    train: Callable[..., None],
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bundle, Bundle]:
    """In floating point and in 8 bits."""
    out = tmp_path_factory.mktemp("quantised") / "bundle"
    train("export", out, codec=runs.codec, clip=runs.clip, quantise=photographs, name="small")
    return Bundle.open(runs.bundle), Bundle.open(out)


def test_the_edges_form_of_the_analysis_computes_the_same_and_can_be_undone() -> None:
    torch.manual_seed(0)
    analysis = Codec(NetConfig(latent_channels=24, analysis_width=16, analysis_blocks=2)).analysis
    for weight in analysis.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    picture = torch.rand(2, 3, 48, 80)
    edge = EdgeAnalysis(analysis)
    with torch.no_grad():
        wanted, edge_latent = analysis(picture), edge(picture)
    assert float(wanted.std()) > 1
    close = {"rtol": 1e-3, "atol": 1e-3 * float(wanted.std())}
    torch.testing.assert_close(edge_latent, wanted, **close)

    gates = (block.gate for block in analysis.blocks)
    for layer in (analysis.linear, analysis.enter, analysis.leave, *gates):
        for weight in layer.parameters():
            torch.nn.init.zeros_(weight)
    undo(edge, analysis)
    with torch.no_grad():
        torch.testing.assert_close(analysis(picture), wanted, **close)


def test_graphs_are_smaller_and_near(bundles: tuple[Bundle, Bundle], photographs: Path) -> None:
    for name in (ENCODER, GUIDANCE):
        before, after = (bundle.manifest.files[name].bytes for bundle in bundles)
        assert after < 0.8 * before
    picture = load(sorted(photographs.iterdir())[0])[:160, :240]
    wanted, quantised = (Encoder(bundle, 1).analyse(picture) for bundle in bundles)
    assert np.sqrt(np.square(wanted.latent - quantised.latent).mean()) < 3
    stream = quantised.code(3)
    size, code = (stream.width, stream.height), stream.quality_code
    codes = flat_codes(code, *size)
    if stream.level_map:
        codes = LevelMap.decode(stream.level_map, *size).codes(code, *size)
    EntropyModel.load(bundles[1].path(ENTROPY)).read(stream.latents, stream.check, codes, code)


def test_a_graph_of_another_form_is_named(
    bundles: tuple[Bundle, Bundle], photographs: Path
) -> None:
    with pytest.raises(ValueError, match=r"guidance\.onnx has no node"):
        quantise_encoder(bundles[0].path(GUIDANCE), photographs)
