"""A guidance graph learns on which pictures its level map pays, and says so to the edge."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from skimage import data

from edge_client.coding.encoder import Encoder
from scenes import Backgrounds, render
from shared.bundle import GUIDANCE, Bundle, embedded
from shared.errors import UsageError
from shared.libraries import import_onnxruntime
from training.__main__ import main
from training.bundle.map_gain import GAIN, Look, fit, tokens_of, with_gain, without_gain


def plain() -> onnx.ModelProto:
    return without_gain(onnx.load(str(embedded().path(GUIDANCE))))


def test_the_graph_says_what_was_fitted_and_the_same_importance() -> None:
    graph, bundle = plain(), embedded()
    look, chance = Look(graph, bundle), np.random.default_rng(0)
    picture = render("train", 0, Backgrounds()).picture
    tokens = look(picture)
    weights, bias = chance.normal(0, 0.1, len(tokens)), 0.7
    onnxruntime = import_onnxruntime()
    planes = picture.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
    (before,), (after, gain) = (
        onnxruntime.InferenceSession(made.SerializeToString()).run(names, {"picture": planes})
        for made, names in (
            (graph, ["importance"]),
            (with_gain(graph, weights, bias), ["importance", GAIN]),
        )
    )
    assert np.array_equal(before, after)
    assert gain.shape == (1,)
    assert gain[0] == pytest.approx(tokens @ weights + bias, abs=1e-3)


def test_what_was_learnt_can_be_taken_away() -> None:
    graph = plain()
    size = 2 * embedded().manifest.tower.width
    again = without_gain(with_gain(graph, np.ones(size), 1.0))
    assert again.SerializeToString() == graph.SerializeToString()


def test_few_of_the_others_are_above_zero() -> None:
    chance = np.random.default_rng(1)
    known, other = chance.normal(0.5, 1, (300, 8)), chance.normal(-0.5, 1, (200, 8))
    for most in (0.0, 0.05, 0.2):
        weights, bias = fit(known, other, most)
        assert (other @ weights + bias > 0).mean() <= most
    assert (known @ weights + bias > 0).mean() > 0.9
    apart = fit(known + 9, other, 0.02)
    assert ((known + 9) @ apart[0] + apart[1] > 0).all()


def test_a_graph_without_tokens_is_refused_in_one_line() -> None:
    graph = onnx.ModelProto()
    with pytest.raises(UsageError, match="no layer normalization"):
        tokens_of(graph)


def test_the_command_makes_a_bundle_of_the_same_codec(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    words = ["map_gain", "--data", str(photographs), "--count", "3", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    main()
    made = Bundle.open(out)
    assert made.codec_id == embedded().codec_id
    assert made.manifest.guidance == embedded().manifest.guidance
    encoder = Encoder(made, threads=1)
    scene = render("train", 0, Backgrounds.builtin()).picture
    assert encoder.analyse(scene).level_map is not None
    assert encoder.analyse(data.coffee()[:256, :256]).level_map is None
