"""Rate curves and what lies between two of them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import bjontegaard
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

Array = NDArray[Any]
MIN_POINTS = 3


@dataclass(frozen=True)
class Curve:
    """Rates (bits or bytes, rising) and the quality at each."""

    rates: Array
    qualities: Array

    @classmethod
    def of(cls, points: list[tuple[float, float]]) -> Curve:
        """A curve of (rate, quality) points in any order."""
        ordered = np.array(sorted(points), np.float64).reshape(-1, 2)
        return cls(ordered[:, 0], ordered[:, 1])

    def within(self, low: float, high: float) -> Curve:
        """The part between two rates, cut where it crosses them (PCHIP over log rate).

        Of points at one rate the best counts.
        """
        best = np.diff(self.rates, append=np.inf) > 0
        rates, qualities = self.rates[best], self.qualities[best]
        inside = (rates > low) & (rates < high)
        crossed = len(rates) > 1
        ends = [end for end in (low, high) if crossed and rates[0] <= end <= rates[-1]]
        cut = PchipInterpolator(np.log(rates), qualities)(np.log(ends)) if ends else []
        points = [*zip(rates[inside], qualities[inside], strict=True)]
        return Curve.of([*points, *zip(ends, cut, strict=True)])


def bd_rate(anchor: Curve, test: Curve, low: float, high: float) -> float:
    """Mean change of bits at equal quality, of `test` against `anchor`, as a share.

    Bjontegaard's measure with PCHIP (the `bjontegaard` package), both curves cut to rates `low` to
    `high`, over the qualities that both reach there. nan where they have none in common.
    """
    anchor, test = _rising(anchor.within(low, high)), _rising(test.within(low, high))
    if min(len(anchor.rates), len(test.rates)) < MIN_POINTS:
        return math.nan
    bottom = max(anchor.qualities[0], test.qualities[0])
    if min(anchor.qualities[-1], test.qualities[-1]) <= bottom:
        return math.nan
    with warnings.catch_warnings():
        # JPEG's lowest quality is far above 0.05 bpp: a small overlap is expected, not an accident.
        warnings.simplefilter("ignore", UserWarning)
        change = bjontegaard.bd_rate(
            anchor.rates,
            anchor.qualities,
            test.rates,
            test.qualities,
            method="pchip",
            require_matching_points=False,
            min_overlap=0.0,
        )
    return float(change) / 100


def bd_rate_monotone(
    anchor: Curve,
    test: Curve,
    least_span: float = 1e-9,
    steps: int = 200,
    between: tuple[float, float] | None = None,
) -> float:
    """Mean change of bits at equal quality where the curves are measured with noise, as a share.

    Each curve is made non-decreasing (isotonic regression) and is linear between its points over
    log rate. The rate at a quality is the least at which the curve reaches it; a plateau has no
    width in quality, so it weighs nothing. The mean of the log ratio is over the qualities that
    both reach; nan where these span less than `least_span`. With `between` it is over the
    qualities between two, or what there is of that in common; nan where a curve does not reach the
    upper one, or less than half of the way is left: the smallest file of a format may be good.
    """
    if not len(anchor.rates) or not len(test.rates):
        return math.nan
    fits = [isotonic_regression(curve.qualities).x for curve in (anchor, test)]
    low = max(fit[0] for fit in fits)
    high = min(fit[-1] for fit in fits)
    if between is not None:
        if high < between[1]:
            return math.nan
        low, high = max(low, between[0]), between[1]
        least_span = (between[1] - between[0]) / 2
    if high - low < least_span:
        return math.nan
    wanted = low + (high - low) * (np.arange(steps) + 0.5) / steps
    reached = [
        _least_log_rate(curve.rates, fit, wanted)
        for curve, fit in zip((anchor, test), fits, strict=True)
    ]
    return float(np.exp(np.mean(reached[1] - reached[0])) - 1)


def rate_at(curve: Curve, quality: float) -> float:
    """The least rate at which a curve that is measured with noise reaches a quality; nan outside.

    It is made non-decreasing and is linear between its points over log rate, as above.
    """
    fit = isotonic_regression(curve.qualities).x
    if not fit[0] <= quality <= fit[-1]:
        return math.nan
    return float(np.exp(_least_log_rate(curve.rates, fit, np.array([quality]))[0]))


def _least_log_rate(rates: Array, fit: Array, wanted: Array) -> Array:
    """Least log rate at which a non-decreasing curve reaches each quality `wanted` in its range."""
    logs = np.log(rates)
    after = np.clip(np.searchsorted(fit, wanted, side="left"), 1, len(fit) - 1)
    rise = fit[after] - fit[after - 1]
    share = np.where(rise > 0, (wanted - fit[after - 1]) / np.where(rise > 0, rise, 1.0), 0.0)
    reached: Array = logs[after - 1] + share * (logs[after] - logs[after - 1])
    return reached


def _rising(curve: Curve) -> Curve:
    """Without the points whose quality is not above all before: bits that bought nothing."""
    best = np.maximum.accumulate(np.append(-np.inf, curve.qualities[:-1]))
    keep = curve.qualities > best
    return Curve(curve.rates[keep], curve.qualities[keep])
