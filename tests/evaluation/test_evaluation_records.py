"""Measurements survive an interruption and are not taken twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.report.records import Fields, Records


def never() -> Fields:
    raise AssertionError("measured twice")


def test_a_known_measurement_is_not_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a.jsonl"
    first = Records(path)
    assert first.measure({"q": 1}, lambda: {"psnr": 30.0}) == {"psnr": 30.0}
    assert first.measure({"q": 1}, never) == {"psnr": 30.0}
    again = Records(path)
    assert again.measure({"q": 1}, never) == {"psnr": 30.0}
    assert [*again] == [({"q": 1}, {"psnr": 30.0})]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_short_is_measured_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.jsonl"
    records = Records(path)
    for quality in (1, 2):
        records.add({"q": quality}, {"psnr": 30.0 + quality})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    resumed = Records(path)
    assert resumed.get({"q": 1}) == {"psnr": 31.0}
    assert resumed.get({"q": 2}) is None
    resumed.measure({"q": 2}, lambda: {"psnr": 32.0})
    assert path.read_bytes() == whole


def test_the_order_of_a_key_does_not_matter(tmp_path: Path) -> None:
    records = Records(tmp_path / "a.jsonl")
    records.add({"a": 1, "b": 2}, {"x": 0})
    assert records.get({"b": 2, "a": 1}) == {"x": 0}
