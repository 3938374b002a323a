"""Bits at equal score of two ways to send pictures, paired over the pictures.

A score is a share: of characters that are read again, of answers that stay. Each picture has a
score and a weight (its characters; one) at each setting of each sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.stats.curves import Curve, bd_rate_monotone

Array = NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """What a sender reached: sizes in bytes and points, f64 [S, P], weights [P]."""

    sizes: Array
    points: Array
    weights: Array

    def curves(self, drawn: Array) -> tuple[Array, Array]:
        """Mean bytes and score [R, S] where each picture is drawn as often as in `drawn` [R, P]."""
        total = (drawn @ self.weights)[:, None]
        return drawn @ self.sizes.T / drawn.sum(1)[:, None], drawn @ self.points.T / total

    def only(self, chosen: Array) -> Scores:
        """The same of some pictures, a mask [P]."""
        return Scores(self.sizes[:, chosen], self.points[:, chosen], self.weights[chosen])


def changes(anchor: Scores, test: Scores, drawn: Array, low: float, high: float) -> Array:
    """Bits of `test` at equal score against `anchor` over scores `low` to `high`, as shares [R].

    The first row is the sample, the others its resamples. nan where a curve does not reach so far,
    see `bd_rate_monotone`.
    """
    rows = zip(*anchor.curves(drawn), *test.curves(drawn), strict=True)
    return np.array(
        [bd_rate_monotone(_curve(*row[:2]), _curve(*row[2:]), between=(low, high)) for row in rows]
    )


def _curve(sizes: Array, points: Array) -> Curve:
    order = np.argsort(sizes, kind="stable")
    return Curve(sizes[order], points[order])
