"""Asking back, measured: what is chosen, what is summed, and the command from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.judges.asking import Plan, choose, framing, framing_of_enhancement, sums_of
from evaluation.stats.curves import Curve, rate_at
from shared.bundle import Bundle

CHEAP, FINE = Plan(0.0, 4, 4.0), Plan(1.0, 4, 4.0)


def value(size: int, right: list[int], sure: list[float], second: dict[str, list[float]]) -> dict:
    return {
        **{"bytes": size, "right": right, "sure": sure, "second": second},
        "families": ["count", "scene", "unknown"][: len(right)],
        "prompts": [10] * len(right),
    }


def test_what_is_sent_again_counts_and_decides() -> None:
    values = [value(200, [0, 1, 0], [0.5, 0.9, 0.1], {"0": [60, 1, 0.8], "2": [50, 1, 0.9]})]
    ones = np.ones((1, 1))
    never, unsure = (sums_of(values, threshold).means(ones) for threshold in (0.0, 0.8))
    assert [float(x[0]) for x in never[:2]] == [0.5, 200.0]  # no picture answers the unknown
    assert [float(x[0]) for x in unsure[:2]] == [1.0, 230.0]
    assert float(unsure[3][0]) == 0.5
    around = framing(True) + 10 + framing_of_enhancement() / 2
    assert float(unsure[2][0]) == pytest.approx(230 + around)
    assert float(sums_of(values, 0.8, "count").means(ones)[1][0]) == 260


def test_headers_are_those_that_travel() -> None:
    """As `python -m evaluation wire` counted them: 143 bytes."""
    assert framing(False) == 143
    assert framing(True) == 143 + len("?ask_back=1")
    assert framing_of_enhancement() < 160


def test_the_cheapest_that_reaches_the_aim_is_chosen() -> None:
    again = {"0": [100, 1, 0.8]}
    told = {
        CHEAP: [value(200, [0, 1], [0.5, 0.99], again)],
        FINE: [value(300, [1, 1], [0.5, 0.99], again)],
    }
    assert choose(told, 0.5) == (CHEAP, 0.0)
    assert choose(told, 0.9) == (FINE, 0.0)  # a second request costs more than 100 bytes
    del told[FINE]
    plan, threshold = choose(told, 0.9)
    assert plan == CHEAP
    assert threshold > 0.5


def test_the_rate_at_a_quality_lies_on_the_rising_curve() -> None:
    curve = Curve(np.array([100.0, 200.0, 400.0]), np.array([0.8, 0.7, 0.9]))
    assert rate_at(curve, 0.75) == pytest.approx(100)
    assert rate_at(curve, 0.9) == pytest.approx(400)
    assert np.isnan(rate_at(curve, 0.95))


def test_the_command(
    continuing_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs" / "results.md"
    words = ["--pictures", "2", "--validation", "1", "--first", "0", "--qualities", "0", "3"]
    words += ["--bundle", str(continuing_bundle.root), "--threads", "1"]
    more = ["--report", str(page), "--results", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", ["evaluation", "ask_back", *words, *more])
    main()
    written = page.read_text()
    assert "| aim | plan |" in written
    assert "| count |" in written
    assert (tmp_path / "docs" / "img" / "ask_back.png").stat().st_size > 0
    main()
    assert page.read_text() == written
