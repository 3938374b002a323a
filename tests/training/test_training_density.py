"""Densities: no loss where they are right, and a LLaVA that adds them up from its first step on."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from scenes import Question
from training.clip import CONFIG, ClipWithHeads
from training.density import (
    ADDING_HEAD,
    CHANNELS,
    DENSITIES,
    GAIN,
    UNITS,
    density_loss,
    hold,
    pass_on,
    shown,
    start_adding,
)
from training.llava import IMAGE_TOKENS, PREFIX, Sequences, build_llava
from training.tokenizer import build_tokenizer
from training.world import SIDE

DENSITY = torch.zeros(1, DENSITIES, 4)
DENSITY[0, 0] = torch.tensor([0.5, 0.5, 1.0, 0.0])


def test_right_densities_cost_nothing() -> None:
    assert density_loss(DENSITY, DENSITY) == 0.0


def test_objects_in_the_wrong_place_cost_less_than_a_wrong_number() -> None:
    moved = density_loss(DENSITY[:, :, [0, 3, 2, 1]], DENSITY)
    lost = density_loss(DENSITY * torch.tensor([1.0, 0.0, 1.0, 1.0]), DENSITY)
    assert 0.0 < moved < 2.0 * lost


def test_what_is_not_seen_at_all_does_not_outweigh_all_else() -> None:
    one, two = (density_loss(n * DENSITY[:, :, 2:], 0.0 * DENSITY[:, :, 2:]) for n in (1.0, 2.0))
    patches = 2.0 * (4.0 - 1.0)
    assert two - one == pytest.approx(patches + 1.0)


@pytest.fixture
def llava() -> Any:
    torch.manual_seed(4)
    clip = ClipWithHeads(json.loads(CONFIG.read_text()))
    model = build_llava(clip, build_tokenizer())
    model.tokens = torch.randn(IMAGE_TOKENS, clip.heads["density"][0].in_features)
    pass_on(model.model.multi_modal_projector, clip.heads["density"], model.tokens)
    start_adding(model)
    model.told = clip.heads["density"]
    return model


@torch.no_grad()
def test_a_projector_starts_with_what_the_tower_tells(llava: Any) -> None:
    found = shown(llava.model.multi_modal_projector(llava.tokens)[None])[0]
    wanted = llava.told(llava.tokens).T
    # States differ in size, which the first layer takes out.
    assert torch.allclose(found, wanted, rtol=0.3, atol=0.01)


@torch.no_grad()
def test_words_start_with_the_sum_of_patches(llava: Any) -> None:
    layer = llava.model.language_model.layers[0]
    width = layer.self_attn.head_dim
    rows = slice(ADDING_HEAD * width, (ADDING_HEAD + 1) * width)
    for looks in (layer.self_attn.q_proj, layer.self_attn.k_proj):
        assert not looks.weight[rows].any()
    states = torch.randn(PREFIX, layer.self_attn.q_proj.in_features)
    values = F.linear(states, layer.self_attn.v_proj.weight[rows]).mean(dim=0)
    added = F.linear(values, layer.self_attn.o_proj.weight[:, rows])
    assert torch.allclose(added[CHANNELS], GAIN * states[:, CHANNELS].mean(dim=0), atol=1e-5)
    assert not llava.model.language_model.embed_tokens.weight[:, CHANNELS].any()


def test_units_and_sums_are_held_while_the_rest_learns(llava: Any) -> None:
    hold(llava)
    questions = [[Question("count", "how many cars", "3")]]
    batch = Sequences(build_tokenizer())(questions)
    before = {n: p.detach().clone() for n, p in llava.named_parameters()}
    optimizer = torch.optim.SGD(llava.parameters(), 0.1)
    llava(pixel_values=torch.randn(1, 3, SIDE, SIDE), **batch).loss.backward()
    optimizer.step()
    held = {
        "multi_modal_projector.linear_1.weight": slice(-UNITS, None),
        "multi_modal_projector.linear_1.bias": slice(-UNITS, None),
        "language_model.embed_tokens.weight": (slice(None), CHANNELS),
        "language_model.layers.0.mlp.down_proj.weight": CHANNELS,
        "language_model.layers.0.self_attn.o_proj.weight": CHANNELS,
        "language_model.layers.0.self_attn.v_proj.weight": slice(48, 48 + DENSITIES),
    }
    for name, part in held.items():
        after = llava.get_parameter(f"model.{name}")
        assert torch.equal(after[part], before[f"model.{name}"][part])
        assert not torch.equal(after, before[f"model.{name}"])
