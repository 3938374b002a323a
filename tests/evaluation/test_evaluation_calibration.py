"""Confidence against what is right: measured and fitted, and the command from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cloud_server import calibration as calibrations
from evaluation.__main__ import main
from evaluation.commands.models import calibration
from evaluation.stats.calibration import fit_scaling, reliability


def test_the_error_is_the_mean_distance_of_confidence_and_right() -> None:
    confidence = np.array([0.1, 0.1, 0.9, 0.9])
    right = np.array([False, True, True, True])
    curve = reliability(confidence, right)
    assert curve.count.tolist() == [2, 2]
    assert curve.right.tolist() == [0.5, 1.0]
    assert curve.error == pytest.approx((0.4 + 0.1) / 2)
    assert reliability(np.array([1.0]), np.array([True])).error == 0


def test_the_scaling_of_odds_is_found_again() -> None:
    chance = np.random.default_rng(0)
    odds = chance.normal(1, 2, 20_000)
    right = chance.random(len(odds)) < 1 / (1 + np.exp(-(0.6 * odds - 0.4)))
    assert fit_scaling(odds, right) == pytest.approx((0.6, -0.4), abs=0.05)


def test_one_sureness_of_all_that_is_right_has_a_finite_scaling() -> None:
    odds = np.array([-1.0, -2.0, 3.0, 4.0])
    assert np.isfinite(fit_scaling(odds, odds > 0)).all()


def test_the_command_fits_measures_and_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "calibrations.json"
    kept.write_text("{}")
    monkeypatch.setattr(calibration, "FITTED", kept)
    page = tmp_path / "docs" / "results.md"
    words = ["--validation", "1", "--pictures", "1", "--qualities", "0", "--threads", "1", "--keep"]
    more = ["--report", str(page), "--results", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", ["evaluation", "calibration", *words, *more])
    main()
    assert "Expected calibration error" in page.read_text()
    assert (tmp_path / "docs" / "img" / "calibration.png").stat().st_size > 0
    (fitted,) = json.loads(kept.read_text()).values()
    assert set(fitted) == {"slope", "offset"}
    assert calibrations.Calibration(**fitted).confidence(0.99) > 0
