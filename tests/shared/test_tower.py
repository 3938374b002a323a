"""Towers are told apart by their weights, whatever the precision these come in."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared.nets.fingerprint import fingerprint_of
from shared.tower import PROJECTIONS, same_tower, write_fingerprint


def tower(width: int = 48, layers: int = 4) -> nn.Module:
    """Layers with the extremes that checkpoints have: near zero, ones, outliers."""
    torch.manual_seed(0)
    made = nn.ModuleDict(
        {f"layer{i}": nn.TransformerEncoderLayer(width, 4, 4 * width) for i in range(layers)}
    )
    made["patches"] = nn.Conv2d(3, width, 14)
    made["head"] = nn.Linear(width, width)
    with torch.no_grad():
        made["layer0"].linear1.bias.mul_(1e-9)
        made["layer1"].linear2.weight[0] = 30.0
    return made


@pytest.mark.parametrize(
    "ways",
    [
        [torch.float16],
        [torch.bfloat16],
        [torch.float16, torch.bfloat16],
        [torch.bfloat16, torch.float16, torch.float32],
    ],
)
def test_a_fingerprint_survives_a_change_of_precision(ways: list[torch.dtype]) -> None:
    changed = tower()
    for dtype in ways:
        changed = changed.to(dtype)
    assert same_tower(fingerprint_of(changed), fingerprint_of(tower()))


def test_weights_that_were_trained_on_are_another_tower() -> None:
    tuned = tower()
    with torch.no_grad():
        for weight in tuned.parameters():
            weight += 0.01 * weight.std(correction=0) * torch.randn_like(weight)
    assert not same_tower(fingerprint_of(tuned), fingerprint_of(tower()))


def test_one_layer_that_was_trained_on_is_enough() -> None:
    tuned = tower()
    with torch.no_grad():
        for weight in tuned["layer3"].parameters():  # type: ignore[index]
            weight += 0.05 * weight.std(correction=0) * torch.randn_like(weight)
    assert not same_tower(fingerprint_of(tuned), fingerprint_of(tower()))


def test_layers_that_changed_places_are_another_tower() -> None:
    turned = tower()
    turned["layer2"], turned["layer3"] = turned["layer3"], turned["layer2"]  # type: ignore[index,operator]
    assert not same_tower(fingerprint_of(turned), fingerprint_of(tower()))


def test_a_pooling_head_does_not_count() -> None:
    headless = tower()
    del headless["head"]  # type: ignore[operator]
    assert fingerprint_of(headless) == fingerprint_of(tower())


@given(st.lists(st.floats(-100, 100), min_size=PROJECTIONS, max_size=PROJECTIONS))
def test_fingerprints_are_read_as_they_were_written(projections: list[float]) -> None:
    written = write_fingerprint(projections)
    assert len(written) == 4 * PROJECTIONS
    assert same_tower(written, written)
    moved = write_fingerprint([(v if abs(v) < 30 else 0.0) + 0.01 for v in projections])
    still = write_fingerprint([v if abs(v) < 30 else 0.0 for v in projections])
    assert not same_tower(moved, still)
