"""How layers start."""

from __future__ import annotations

from torch import nn


def start_at_zero(*layers: nn.Module) -> None:
    """Layers whose outputs are 0 until they learn: what adds them to its input is the identity."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
