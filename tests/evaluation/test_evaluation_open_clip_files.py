"""The CLIP towers as open_clip loads them, and as the language model's vision tower has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from evaluation.towers.load import load_tower
from scenes import Backgrounds, Scene, render
from shared.nets.fingerprint import fingerprint_of
from training.loop.square import normalise, pixels
from training.loop.world import Sample
from training.small_models.clip import CONFIG, tokenize
from training.small_models.conversion import convert_tower
from training.small_models.open_clip_files import NAME, TOKENIZER, WEIGHTS, write_open_clip


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The shipped architecture."""
    fields: dict[str, Any] = json.loads(CONFIG.read_text())
    return fields


@pytest.fixture(scope="module")
def trained(config: dict[str, Any]) -> Any:
    """Towers as a run has them, though with random weights; those of the bundle are float16."""
    torch.manual_seed(0)
    return open_clip.CLIP(**config, output_dict=True).half().float().eval()


@pytest.fixture(scope="module")
def folder(trained: Any, config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "open_clip"
    write_open_clip(trained, config, path)
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Any:
    open_clip.add_model_config(folder)
    return open_clip.create_model(NAME, pretrained=str(folder / WEIGHTS)).eval()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render("test", 0, Backgrounds())


@torch.no_grad()
def test_open_clip_loads_both_towers(trained: Any, loaded: Any, scene: Scene) -> None:
    picture = normalise(pixels([Sample(scene, scene.picture, {}, scene.patch_shares())]))
    tokens = tokenize([scene.caption], loaded.context_length)
    wanted = trained.encode_image(picture)[0], trained.encode_text(tokens)
    embedded = loaded.encode_image(picture), loaded.encode_text(tokens)
    for expected, embedding in zip(wanted, embedded, strict=True):
        assert torch.allclose(expected, embedding, atol=1e-4)


@torch.no_grad()
def test_both_towers_give_the_same_tokens(loaded: Any, scene: Scene) -> None:
    tower = convert_tower(loaded.visual)
    picture = normalise(pixels([Sample(scene, scene.picture, {}, scene.patch_shares())]))
    states = tower(picture, output_hidden_states=True).hidden_states
    x = loaded.visual._embeds(picture)
    assert torch.allclose(states[0], x, atol=1e-4)
    for block, state in zip(loaded.visual.transformer.resblocks, states[1:], strict=True):
        x = block(x)
        assert torch.allclose(state, x, atol=1e-4)


def test_it_is_a_tower_whose_flow_can_be_measured(folder: Path, loaded: Any, scene: Scene) -> None:
    tower = load_tower(f"open_clip:{NAME}:{folder / WEIGHTS}")
    visual = loaded.visual
    assert tower.fingerprint == fingerprint_of(convert_tower(visual))
    assert tower(scene.picture).attention.shape == (tower.layers, 256, 256)


def test_captions_get_the_tokens_of_training(folder: Path, loaded: Any, scene: Scene) -> None:
    length = loaded.context_length
    tokenizer = open_clip.tokenizer.HFTokenizer(str(folder / TOKENIZER), context_length=length)
    assert torch.equal(
        tokenizer([scene.caption, "a dog"]), tokenize([scene.caption, "a dog"], length)
    )
