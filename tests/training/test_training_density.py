"""Densities: no loss where they are right, and what they lack costs more than where they are."""

from __future__ import annotations

import pytest
import torch

from training.small_models.density import DENSITIES, density_loss

DENSITY = torch.zeros(1, DENSITIES, 4)
DENSITY[0, 0] = torch.tensor([0.5, 0.5, 1.0, 0.0])


def test_right_densities_cost_nothing() -> None:
    assert density_loss(DENSITY, DENSITY) == 0.0


def test_objects_in_the_wrong_place_cost_less_than_a_wrong_number() -> None:
    moved = density_loss(DENSITY[:, :, [0, 3, 2, 1]], DENSITY)
    lost = density_loss(DENSITY * torch.tensor([1.0, 0.0, 1.0, 1.0]), DENSITY)
    assert 0.0 < moved < 2.0 * lost


def test_what_is_not_seen_at_all_does_not_outweigh_all_else() -> None:
    once, twice = (density_loss(n * DENSITY[:, :, 2:], 0.0 * DENSITY[:, :, 2:]) for n in (1.0, 2.0))
    patches = 2.0 * (4.0 - 1.0)
    assert twice - once == pytest.approx(patches + 1.0)
