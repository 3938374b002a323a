"""Bits at equal quality: what is known without measuring."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.stats.curves import Curve, bd_rate, bd_rate_monotone

RATES = np.array([0.04, 0.08, 0.16, 0.32, 0.64])
QUALITIES = np.array([22.0, 25.5, 28.5, 31.0, 33.0])


def curve(factor: float = 1.0) -> Curve:
    return Curve(RATES * factor, QUALITIES)


def test_identical_curves_differ_by_nothing() -> None:
    assert bd_rate(curve(), curve(), 0.05, 0.5) == pytest.approx(0.0, abs=1e-9)
    assert bd_rate_monotone(curve(), curve()) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("factor", "change"), [(0.5, -0.5), (2.0, 1.0)])
def test_a_rate_scaled_is_a_rate_changed(factor: float, change: float) -> None:
    assert bd_rate(curve(), curve(factor), 0.001, 10) == pytest.approx(change, abs=1e-6)
    assert bd_rate_monotone(curve(), curve(factor)) == pytest.approx(change, abs=1e-6)


def test_the_range_of_rates_cuts_both_curves() -> None:
    worse_outside = Curve(np.append(RATES, 5.0), np.append(QUALITIES, 33.5))
    assert bd_rate(worse_outside, curve(0.5), 0.05, 0.3) == pytest.approx(-0.5, abs=0.02)


def test_curves_without_a_common_quality_have_no_difference() -> None:
    above = Curve(RATES, QUALITIES + 100)
    assert math.isnan(bd_rate(curve(), above, 0.05, 0.5))
    assert math.isnan(bd_rate_monotone(curve(), above))


def test_points_in_any_order_make_the_same_curve() -> None:
    points = [*zip(RATES.tolist(), QUALITIES.tolist(), strict=True)]
    assert (Curve.of(points[::-1]).rates == RATES).all()


def test_values_that_fall_count_as_their_common_mean() -> None:
    noisy = Curve(RATES, np.array([22.0, 27.0, 24.0, 31.0, 33.0]))
    pooled = Curve(RATES, np.array([22.0, 25.5, 25.5, 31.0, 33.0]))
    assert bd_rate_monotone(curve(), noisy) == pytest.approx(bd_rate_monotone(curve(), pooled))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_no_noise_makes_a_curve_differ_from_itself(values: list[float]) -> None:
    noisy = Curve(np.geomspace(0.05, 0.5, len(values)), np.array(values))
    change = bd_rate_monotone(noisy, noisy)
    assert math.isnan(change) or change == 0.0
