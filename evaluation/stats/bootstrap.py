"""Intervals by resampling pictures: questions about one picture rise and fall together."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 1000
SEED: Final = 0
Array = NDArray[Any]


def resamples(pictures: int, count: int = RESAMPLES, seed: int = SEED) -> Array:
    """How often each picture is drawn, i64 [1 + count, pictures]; the first row is the sample."""
    drawn = np.random.default_rng(seed).multinomial(
        pictures, np.full(pictures, 1 / pictures), size=count
    )
    return np.concatenate([np.ones((1, pictures), np.int64), drawn])


def interval(values: Array) -> tuple[float, float]:
    """The middle 95 % of resampled values [1 + count]; nan where most are none."""
    drawn = values[1:]
    found = drawn[np.isfinite(drawn)]
    if len(found) * 2 < len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
