"""Attention that counts: no loss where it is right, and the number weighs for itself."""

from __future__ import annotations

import torch
from torch import Tensor

from training.density import SINK_COUNT, density_losses

DENSITY = torch.tensor([[0.5, 0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
"""Two objects, of which one lies on two patches, and none."""


def attention(objects: Tensor) -> Tensor:
    """Logarithm of attention in proportion to objects [W, N] and the sink's."""
    with_sink = torch.cat([torch.full((len(objects), 1), SINK_COUNT), objects + 1e-9], dim=1)
    return (with_sink / with_sink.sum(dim=1, keepdim=True)).log()


def test_right_attention_costs_nothing() -> None:
    divergence, error = density_losses(attention(DENSITY), DENSITY)
    assert divergence.shape == (2,)
    assert error.shape == (1,)
    assert divergence.abs().max() < 1e-5
    assert error.abs().max() < 1e-5


def test_objects_in_the_wrong_place_cost_divergence_alone() -> None:
    moved = DENSITY[:, [0, 2, 1, 3]]
    divergence, error = density_losses(attention(moved), DENSITY)
    assert divergence[0] > 0.05
    assert divergence[1] < 1e-5
    assert error.abs().max() < 1e-5


def test_a_wrong_number_costs_by_its_logarithm() -> None:
    _, more = density_losses(attention(1.1 * DENSITY), DENSITY)
    _, fewer = density_losses(attention(DENSITY / 1.1), DENSITY)
    _, most = density_losses(attention(1.21 * DENSITY), DENSITY)
    assert torch.allclose(more, fewer, atol=1e-4)
    assert torch.allclose(most, 4.0 * more, rtol=1e-3)


def test_what_is_not_seen_at_all_does_not_outweigh_all_else() -> None:
    hidden, lost = (density_losses(attention(DENSITY * part), DENSITY)[1] for part in (1e-2, 1e-4))
    assert lost < 2.1 * hidden
