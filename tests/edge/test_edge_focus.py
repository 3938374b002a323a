"""The question at the edge: what it names keeps its bits; unknown words change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from edge_client.coding.encoder import Encoder
from edge_client.coding.picture_coder import PictureCoder
from edge_client.guidance.focus import RELEVANT, Focus, focused, relevance
from scenes import Backgrounds, Scene, render
from shared.bundle import GUIDANCE, Bundle, embedded
from shared.errors import BundleCorrupt, UsageError
from shared.level_map import LevelMap
from training.bundle.focus import (
    KNOWN,
    TokensOf,
    channels,
    fit,
    looked,
    with_shown,
    without_shown,
)
from training.bundle.map_gain import write_guidance_manifest

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`tiny` before it learnt words."""
    root = tmp_path_factory.mktemp("wordless") / "tiny"
    shutil.copytree(embedded().root, root)
    onnx.save(without_shown(onnx.load(str(root / GUIDANCE))), str(root / GUIDANCE))
    write_guidance_manifest(embedded(), root)
    return Bundle.open(root)


@pytest.fixture(scope="module")
def taught() -> Bundle:
    return embedded()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render("val", 3, Backgrounds())


def test_what_a_question_names() -> None:
    focus = Focus(channels())
    car, red, dog = (KNOWN.index(name) for name in ("car", "red", "dog"))
    assert focus.things("How many red cars are there?") == [(red, car)]
    assert focus.things("is the dog left of the red car, or the dog of the car?") == [
        *((dog,), (red, car)),
        (car,),
    ]
    assert focus.things("wo ist das Auto? \u00e9\u4e2d") == focus.things("") == []
    shown = np.zeros((len(KNOWN), 2, 2), np.float32)
    shown[car], shown[red, 0], shown[dog, 1, 1] = 0.6, 0.3, 0.9
    relevances = relevance(shown, [(red, car), (dog,)])
    assert relevances == pytest.approx(np.array([[0.3, 0.3], [0.0, 0.9]]))


def test_other_important_cells_get_fewer_bits() -> None:
    two = LevelMap(np.array([[0, 1, 1]], np.uint8), 16, 2, 30)
    relevant = np.array([[1, 1, RELEVANT]], np.float32)
    three = focused(two, relevant)
    assert three.levels == 3
    assert three.offsets.tolist() == [[-1, 1, 0]]
    assert focused(three, relevant).offsets.tolist() == [[-1, 1, 0]]
    assert focused(three, 0 * relevant).offsets.tolist() == [[-1, 0, 0]]


def test_streams_with_and_without_a_question(taught: Bundle, scene: Scene) -> None:
    plain = PictureCoder(embedded()).encode(scene.picture)
    coder = PictureCoder(taught, focus=True)
    named = next(thing.kind for thing in scene.objects)
    for same in ("", "qu'est-ce que c'est?", "what is the weather tomorrow?"):
        assert coder.encode(scene.picture, question=same) == plain
    assert PictureCoder(taught).encode(scene.picture, question=f"where is the {named}?") == plain
    asked = coder.encode(scene.picture, question=f"where is the {named}?")
    assert len(asked.to_bytes()) < len(plain.to_bytes())
    importance, levels = coder.encoder.guide(scene.picture, f"where is the {named}?")
    before, usual = coder.encoder.guide(scene.picture)
    assert np.array_equal(importance, before)
    assert levels.levels == 3
    assert (levels.offsets <= usual.offsets).all()
    assert (levels.offsets[usual.offsets < 0] == -1).all()
    large = np.asarray(Image.fromarray(scene.picture).resize((700, 700)))
    tiled = coder.encoder.guide(large, f"where is the {named}?")[1]
    assert tiled.levels == 3


def test_the_graph_keeps_what_it_had(wordless: Bundle, scene: Scene) -> None:
    assert wordless.codec_id == embedded().codec_id
    graph = onnx.load(str(wordless.path(GUIDANCE)))
    head = fit(*looked(TokensOf(graph, wordless), "train", 2), 4)
    again = without_shown(with_shown(graph, head, wordless))
    assert again.SerializeToString() == onnx.load(str(wordless.path(GUIDANCE))).SerializeToString()
    both = (Encoder(bundle, 1).guide(scene.picture) for bundle in (wordless, embedded()))
    (importance, levels), (after, after_levels) = both
    assert np.array_equal(importance, after)
    assert np.array_equal(levels.values, after_levels.values)


def test_a_bundle_that_has_learnt_no_words(
    cli: Cli, photo: Path, wordless: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = ["--bundle", wordless.root]
    for words in (["map", photo, "--focus", "a car?"], ["send", photo, "a?", "--focus"]):
        said = cli(*words, *bundle, *(["--dry-run"] if words[0] == "send" else []))
        assert said.code == 2
        assert said.err.count("\n") == 1
        assert "tiny has learnt no words to focus by" in said.err
    drawn = cli("map", photo, "--levels", "--focus", "a car?", "--json")
    assert len(json.loads(drawn.out)["counts"]) == 3
    assert cli("send", photo, "a car?", "--focus", "--dry-run").code == 0
    assert "leave --no-guidance out" in cli("send", photo, "a?", "--focus", "--no-guidance").err
    monkeypatch.setenv("COTAM_FOCUS", "perhaps")
    assert "focus is 'perhaps' (COTAM_FOCUS): yes or no" in cli("send", photo, "a?").err


@pytest.mark.parametrize("words", ["", "[]", "7", '{"car": -1}', '{"car": 2}', '{"car": true}'])
def test_words_that_are_no_channels(words: str) -> None:
    session = SimpleNamespace(
        get_outputs=lambda: [SimpleNamespace(name="shown", shape=[1, 2, 16, 16])],
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={"words": words}),
    )
    with pytest.raises(BundleCorrupt, match="no channels"):
        Focus.of(session)


def test_patches_after_other_tokens_are_refused() -> None:
    graph, bundle = without_shown(onnx.load(str(embedded().path(GUIDANCE)))), embedded()
    tower = bundle.manifest.tower.model_copy(update={"leading": 0})
    other = Bundle(bundle.root, bundle.manifest.model_copy(update={"tower": tower}), bundle.id)
    with pytest.raises(UsageError, match="a tower with \\[CLS\\]"):
        with_shown(graph, torch.nn.Conv2d(192, len(KNOWN), 3, padding=1), other)
