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
    finite = drawn[np.isfinite(drawn)]
    if not len(finite) or len(finite) * 2 < len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, (0.025, 0.975))
    return float(low), float(high)


def with_interval(values: Array) -> str:
    """A change [1 + resamples] in percent with the middle 95 % of its resamples."""
    if not np.isfinite(values[0]):
        return "none"
    low, high = interval(values)
    span = f" ({100 * low:+.0f} to {100 * high:+.0f})" if np.isfinite(low) else ""
    return f"{100 * values[0]:+.1f} %{span}"
