"""Muon: what it makes of a gradient, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.loop.muon import LIKE_ADAM, Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16), (1, 9)])
def test_directions_stay_and_their_lengths_become_alike(shape: tuple[int, int]) -> None:
    left, values, right = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False
    )
    spread = values.clamp(min=0.05 * float(values[0]))
    direction = orthogonal(left @ spread.diag() @ right)
    lengths = left.T @ direction @ right.T
    assert lengths.diagonal().min() > 0.6
    assert lengths.diagonal().max() < 1.3
    assert (lengths - lengths.diagonal().diag()).abs().max() < 1e-4


def test_a_step_is_as_long_as_one_of_adam() -> None:
    weight = nn.Parameter(torch.zeros(32, 64))
    weight.grad = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    Muon([weight], lr=0.01, weight_decay=0.0).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.01 * LIKE_ADAM, rel=0.2)


def test_a_product_is_learnt_and_its_momentum_is_kept() -> None:
    generator = torch.Generator().manual_seed(2)
    wanted = torch.randn(12, 20, generator=generator)
    weight = nn.Parameter(torch.zeros(12, 20))
    optimizer = Muon([weight], lr=0.5, weight_decay=0.0)
    losses = []
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - step / 200)
        x = torch.randn(20, 64, generator=generator)
        optimizer.zero_grad()
        loss = ((weight - wanted) @ x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]
    again = Muon([weight], lr=0.5, weight_decay=0.0)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[weight]["momentum"], optimizer.state[weight]["momentum"])
