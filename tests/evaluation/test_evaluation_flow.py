"""Attention distances of known attention, and towers of each class that can be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    InternVLVisionConfig,
    InternVLVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from evaluation.commands.models.information_flow import (
    attention_distances,
    findings,
    local_stage,
    similarity,
)
from evaluation.towers.load import load_tower
from shared.bundle import MLLM, Bundle
from shared.errors import UsageError
from shared.nets.fingerprint import fingerprint_of
from shared.tower import same_tower

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def test_attention_to_oneself_has_no_distance() -> None:
    average, top = attention_distances(torch.eye(16).unsqueeze(0), 4)
    assert average.tolist() == [0.0]
    assert top.tolist() == [0.0]


def test_even_attention_has_the_mean_distance() -> None:
    average, _ = attention_distances(torch.full((1, 4, 4), 0.25), 2)
    assert float(average) == pytest.approx((0 + 1 + 1 + 2**0.5) / 4)


def test_attention_to_the_next_row_has_distance_one() -> None:
    attention = torch.eye(16).roll(4, dims=1)[None, :12]
    whole = torch.cat([attention, torch.eye(16)[None, 12:]], dim=1)
    average, top = attention_distances(whole, 4)
    assert float(average) == pytest.approx(12 / 16)
    assert float(top) == pytest.approx(12 / 16)


@pytest.mark.parametrize(
    ("average", "stage"),
    [([5, 4, 1, 1.5, 5], (2, 3)), ([1, 2, 9], (0, 1)), ([9, 2, 1], (1, 2))],
)
def test_the_local_stage_is_where_attention_is_near(
    average: list[float], stage: tuple[int, int]
) -> None:
    assert local_stage(np.array(average)) == stage


@pytest.mark.parametrize(
    ("average", "cosine", "said"),
    [
        (
            [5, 4, 1, 1.5, 5],
            [1, 0.99, 0.98, 0.97, 0.96, 0.6],
            "paper's U (1.0 to 5.0 patches). At quality 0 the",
        ),
        ([5, 4, 1, 1.5, 5], [1, 0.99, 0.98, 0.97, 0.96, 0.6], "integration), by 0.360"),
        ([5, 4, 1, 1.5, 5], [1, 0.99, 0.98, 0.97, 0.96, 0.6], "by 0.360, as in the paper"),
        ([9, 2, 1], [0.9, 0.5, 0.5, 0.5], "falls and does not rise past the middle again"),
        ([9, 2, 1], [0.9, 0.5, 0.5, 0.5], "layer 1 (broad screening)"),
        ([1, 2, 9], [0.9, 0.91, 0.92, 0.93], "falls in no layer"),
    ],
)
def test_findings_say_where_the_paper_is_contradicted(
    average: list[float], cosine: list[float], said: str
) -> None:
    distances = {"average": np.array(average, float), "top": np.array(average, float)}
    assert said in findings(distances, {0.0: np.array(cosine), 4.0: np.ones(len(cosine))})


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (CLIPVisionConfig, CLIPVisionModel),
        (SiglipVisionConfig, SiglipVisionModel),
        (InternVLVisionConfig, InternVLVisionModel),
        (ViTConfig, ViTModel),
        (Dinov2Config, Dinov2Model),
    ],
)
def test_a_tower_of_each_class_is_read(config: Any, model: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = model(config(**SIZES))
    for parameter in made.parameters():  # position embeddings and [CLS] may start at zero
        torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(tmp_path)
    tower = load_tower(str(tmp_path))
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    flow = tower(picture)
    assert flow.attention.shape == (3, 16, 16)
    assert len(flow.states) == 4
    assert flow.attention.sum(dim=-1).numpy() == pytest.approx(1.0, abs=1e-5)
    assert similarity(flow, flow).numpy() == pytest.approx(1.0, abs=1e-5)
    assert float(similarity(flow, tower(255 - picture))[-1]) < 0.9999
    assert (flow.summary is None) == (flow.states.shape[1] == 16)


def test_the_tower_of_a_whole_model_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = CLIPTextConfig(vocab_size=16, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=SIZES))
    whole.save_pretrained(tmp_path)
    tower = load_tower(str(tmp_path))
    assert tower.fingerprint == fingerprint_of(whole.vision_model)


def test_the_bundles_own_tower_is_read(bundle: Bundle) -> None:
    tower = load_tower(str(bundle.path(MLLM)))
    assert same_tower(tower.fingerprint, bundle.manifest.tower.fingerprint)


def test_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    InternVLVisionModel(InternVLVisionConfig(**SIZES | {"image_size": (32, 64)})).save_pretrained(
        tmp_path
    )
    with pytest.raises(UsageError, match="not square"):
        load_tower(str(tmp_path))


def test_what_is_no_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no vision tower"):
        load_tower(str(tmp_path / "nothing"))
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="holds a bert"):
        load_tower(str(tmp_path))
