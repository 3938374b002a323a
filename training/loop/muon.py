"""Muon: momentum whose matrices are made orthogonal, so that no direction of a weight is left out.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the step
size of Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982). `torch.optim.Muon` works
in bfloat16, which takes a CPU without AVX-512 several times as long as the training step itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

MOMENTUM: Final = 0.95
ITERATIONS: Final = 5
COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
LIKE_ADAM: Final = 0.2  # root mean square of a weight's change, in learning rates


class Muon(torch.optim.Optimizer):
    """For weights of matrix products [out, in]; learning rate and decay are those of AdamW."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Change every weight that has a gradient; a closure is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1.0 - MOMENTUM)
                change = orthogonal(weight.grad.lerp(momentum, MOMENTUM))
                rate = LIKE_ADAM * max(weight.shape) ** 0.5
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                weight.add_(change, alpha=-group["lr"] * rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T, by Newton-Schulz steps: singular values near 1."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + 1e-7)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = linear * x + (cubic * square + quintic * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
