"""How well confidence tells how often answers are right, and the scaling that makes it tell so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15
STEPS: Final = 50
RIDGE: Final = 1e-6  # where one sureness parts right from wrong, the likeliest slope is infinite

Array = NDArray[Any]


@dataclass(frozen=True)
class Reliability:
    """By bin of confidence: mean confidence, share of right answers and number of answers, [B]."""

    confidence: Array
    right: Array
    count: Array

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the two, weighed by answers."""
        gaps = np.abs(self.confidence - self.right)
        return float(gaps @ self.count / self.count.sum())


def reliability(confidence: Array, right: Array, bins: int = BINS) -> Reliability:
    """Answers of confidence [N], right bool [N], in bins of equal width, those with any."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    sums = [np.bincount(place, values, bins)[filled] for values in (confidence, right)]
    return Reliability(sums[0] / count[filled], sums[1] / count[filled], count[filled])


def fit_scaling(log_odds: Array, right: Array) -> tuple[float, float]:
    """Slope and offset under which logistic(slope * log odds + offset) makes `right` likeliest.

    log_odds: f64 [N]; right: bool [N]. Newton's steps on the cross-entropy, which is convex.
    """
    inputs = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (chance - right) + RIDGE * weights
        curve = (inputs.T * (chance * (1 - chance))) @ inputs + RIDGE * np.eye(2)
        step = np.linalg.solve(curve, slope)
        weights -= np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])
