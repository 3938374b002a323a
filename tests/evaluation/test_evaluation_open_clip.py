"""open_clip's towers give the same tokens here as in open_clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from evaluation.towers.load import load_tower
from scenes import Backgrounds, render
from shared.errors import UsageError

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 24, "layers": 3, "head_width": 12},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}


@pytest.mark.parametrize("quick", [False, True])
def test_tokens_are_those_of_open_clip(quick: bool, tmp_path: Path) -> None:
    name = f"cotam-test-{quick}"
    (tmp_path / f"{name}.json").write_text(json.dumps({**CONFIG, "quick_gelu": quick}))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    torch.manual_seed(1)
    model = open_clip.create_model(name).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    tower = load_tower(f"open_clip:{name}:{tmp_path / 'weights.pt'}")
    assert tower.grid == 4

    picture = render("test", 0, Backgrounds(), (64, 64)).picture
    flow = tower(picture)
    assert flow.states.shape == (4, 17, 24)
    assert flow.attention.shape == (3, 16, 16)
    planes = torch.tensor(picture).permute(2, 0, 1).unsqueeze(0).float() / 255
    small = torch.nn.functional.interpolate(planes, (32, 32), mode="bicubic", antialias=True)
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (model.visual.image_mean, model.visual.image_std)
    )
    with torch.no_grad():
        x = model.visual._embeds((small.clamp(0, 1) - mean) / deviation)
        wanted = model.visual.transformer(x)[0]
    assert torch.allclose(flow.states[-1], wanted, atol=1e-4)


def test_a_siglip_tower_of_timm_is_watched_as_it_runs(tmp_path: Path) -> None:
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"}
    config = {**CONFIG, "vision_cfg": {**vision, "image_size": 160}}
    (tmp_path / "cotam-test-timm.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "cotam-test-timm.json")
    tower = load_tower("open_clip:cotam-test-timm")
    picture = render("test", 0, Backgrounds(), (160, 160)).picture
    flow = tower(picture)
    count = tower.grid**2
    assert flow.attention.shape == (tower.layers, count, count)
    assert len(flow.states) == tower.layers + 1
    assert flow.attention.sum(dim=-1).numpy() == pytest.approx(1.0, abs=1e-5)
    torch.manual_seed(0)
    trunk = open_clip.create_model("cotam-test-timm").eval().visual.trunk
    with torch.no_grad():
        planes = torch.tensor(picture).permute(2, 0, 1).unsqueeze(0).float() / 255
        mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
        deviation = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
        wanted = trunk.forward_features((planes - mean) / deviation)[0]
        assert torch.allclose(trunk.norm(flow.states[-1]), wanted, atol=1e-4)


def test_what_cannot_be_loaded_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="open_clip loads no nonsense"):
        load_tower("open_clip:nonsense")
    convolutional = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16}
    config = {**CONFIG, "vision_cfg": convolutional}
    (tmp_path / "cotam-test-resnet.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "cotam-test-resnet.json")
    with pytest.raises(UsageError, match="no plain ViT"):
        load_tower("open_clip:cotam-test-resnet")
