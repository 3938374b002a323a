"""A small run of the benchmark, stopped and gone on with, and what is made of its numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation import rate_accuracy, scenes
from evaluation.accuracy import (
    FAMILIES,
    GUESSED_FROM,
    ORIGINAL,
    OVERALL,
    VIEWS,
    Condition,
    blind_scores,
    collect,
    guesses,
    key_of,
)
from evaluation.bootstrap import interval, resamples
from evaluation.equal_accuracy import changes
from evaluation.records import Records
from scenes import VERSION, WORDS, Backgrounds
from shared.bundle import Bundle
from shared.errors import UsageError

FORMATS = ("JPEG", "WebP", "AVIF")


@pytest.fixture(scope="module")
def measured(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw numbers of two scenes at one quality."""
    path = tmp_path_factory.mktemp("results") / "scenes.jsonl"
    scenes.measure(bundle, Backgrounds(), 2, [2.0], Records(path))
    return path


def test_all_views_and_formats_are_measured(bundle: Bundle, measured: Path) -> None:
    found = collect(Records(measured), bundle.hex_id)
    assert {c.codec for c in found.sizes} == {ORIGINAL, *VIEWS, *FORMATS}
    one = {view: found.sizes[Condition(view, 2.0)] for view in VIEWS}
    assert (one["base"] == one["adapter"]).all()
    assert (one["guidance"] == one["full"]).all()
    assert (found.sizes[Condition(ORIGINAL)] == 256 * 256 * 3).all()
    assert found.questions[:, 1:].sum() > found.questions[:, 0].sum() > 0


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    bundle: Bundle, measured: Path, tmp_path: Path
) -> None:
    whole = measured.read_bytes()
    path = tmp_path / "scenes.jsonl"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    scenes.measure(bundle, Backgrounds(), 2, [2.0], Records(path))
    resumed = collect(Records(path), bundle.hex_id)
    found = collect(Records(measured), bundle.hex_id)
    assert path.read_bytes().startswith(whole[: len(whole) // 2])
    assert set(resumed.sizes) == set(found.sizes)
    for condition in found.sizes:
        assert (resumed.sizes[condition] == found.sizes[condition]).all()
        assert (resumed.right[condition] == found.right[condition]).all()


def test_the_section_holds_both_tables(bundle: Bundle, measured: Path, tmp_path: Path) -> None:
    arguments = argparse.Namespace(pictures=2, words=("scenes", "--pictures", "2"))
    found = collect(Records(measured), bundle.hex_id)
    written = scenes.text(found, bundle, 0, arguments)
    assert "`python -m evaluation scenes --pictures 2`" in written
    assert all(f"| {name} |" in written for name in (ORIGINAL, OVERALL, *VIEWS.values(), *FORMATS))
    scenes.draw(found, tmp_path / "scenes.png")
    assert (tmp_path / "scenes.png").read_bytes().startswith(b"\x89PNG")


def test_blind_scores_count_yes_and_no_apart() -> None:
    families = [["relation"] * 6 + ["unknown"]]
    answers = [["yes", "yes", "no", "left", "left", "right", "i cannot tell"]]
    guessed = {"relation: yes/no": "no", "relation: left/right": "left", "unknown": "i cannot tell"}
    scores = blind_scores(families, answers, guessed)
    assert scores["relation"] == scores[OVERALL] == pytest.approx(3 / 6)
    assert scores["unknown"] == 1.0
    assert scores["count"] == 0.0


def test_the_blind_guess_as_in_training(records_of_guesses: Records) -> None:
    found = guesses(records_of_guesses)
    assert {"count", "scene", "presence: yes/no", "relation: left/right"} <= set(found)
    assert found["unknown"] == "i cannot tell"
    assert found["large print"] in WORDS


@pytest.fixture(scope="module")
def records_of_guesses(measured: Path) -> Records:
    return Records(measured)


def test_intervals_hold_the_mean_and_narrow_with_more_pictures() -> None:
    widths = []
    for pictures in (20, 2000):
        weights = resamples(pictures)
        values = np.tile([0.0, 1.0], pictures // 2)
        means = weights @ values / pictures
        low, high = interval(means)
        assert low < 0.5 == means[0] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


@pytest.fixture
def invented(bundle: Bundle, tmp_path: Path) -> Callable[[dict[str, float]], Path]:
    """Results in which a codec needs so many bytes for the accuracy that the base codec has."""

    def write(factors: dict[str, float]) -> Path:
        records = Records(tmp_path / "scenes.jsonl")
        records.add({"scenes": VERSION, "guesses": GUESSED_FROM}, {"count": "2"})
        for index in range(30):
            value = {"bytes": 1, "right": [1] * 20, "probable": [1.0] * 20}
            value |= {"families": ["count"] * 20, "answers": ["1"] * 20}
            records.add(key_of(bundle.hex_id, index, 0, Condition(ORIGINAL)), value)
            for codec, factor in factors.items():
                for quality in range(1, 6):
                    right = [1] * (3 * quality) + [0] * (20 - 3 * quality)
                    size = round(factor * 400 * 2**quality)
                    key = key_of(bundle.hex_id, index, 0, Condition(codec, quality))
                    records.add(key, {"bytes": size, "right": right, "probable": right})
        return tmp_path

    return write


def test_bits_at_equal_accuracy_are_those_that_were_invented(
    bundle: Bundle, invented: Callable[[dict[str, float]], Path]
) -> None:
    folder = invented({"base": 1.0, "guidance": 1.0, "full": 0.5, "JPEG": 2.0})
    found = collect(Records(folder / "scenes.jsonl"), bundle.hex_id)
    for anchor, change in (("base", -0.5), ("JPEG", -0.75)):
        all_changes = changes(found, "full", anchor, resamples(30, 5))
        family = FAMILIES.index("count")
        assert all_changes[:, family] == pytest.approx(change, abs=1e-6)
        assert all_changes[:, 0] == pytest.approx(change, abs=1e-6)
        assert np.isnan(all_changes[:, FAMILIES.index("large print")]).all()
        probable = changes(found, "full", anchor, resamples(30, 5), ["count"], probable=True)
        assert probable == pytest.approx(change, abs=1e-6)


def test_rate_accuracy_writes_its_section(
    bundle: Bundle, invented: Callable[[dict[str, float]], Path], tmp_path: Path
) -> None:
    folder = invented({"base": 1.0, "guidance": 0.8})
    arguments = argparse.Namespace(
        bundle="tiny",
        results=folder,
        pictures=None,
        resamples=20,
        report=tmp_path / "docs" / "results.md",
        words=("rate_accuracy",),
    )
    rate_accuracy.main(arguments)
    assert "against base codec" in arguments.report.read_text()
    assert "-20.0 %" in arguments.report.read_text()
    for name in ("rate_accuracy.png", "rate_accuracy_views.png"):
        assert (tmp_path / "docs" / "img" / name).read_bytes().startswith(b"\x89PNG")


def test_a_family_that_is_guessed_has_no_change(bundle: Bundle, tmp_path: Path) -> None:
    """Yes and no, answered right half of the time at any size."""
    records = Records(tmp_path / "scenes.jsonl")
    records.add({"scenes": VERSION, "guesses": GUESSED_FROM}, {"presence: yes/no": "yes"})
    answers, right = ["yes", "no"] * 4, [1, 1, 0, 0] * 2
    for index in range(10):
        value = {"bytes": 1, "right": right, "probable": right}
        value |= {"families": ["presence"] * 8, "answers": answers}
        records.add(key_of(bundle.hex_id, index, 0, Condition(ORIGINAL)), value)
        for codec in ("base", "guidance"):
            for quality in (1, 2):
                value = {"bytes": 100 * quality, "right": right, "probable": right}
                records.add(key_of(bundle.hex_id, index, 0, Condition(codec, quality)), value)
    found = collect(records, bundle.hex_id)
    written = rate_accuracy.text(found, bundle.hex_id, ("rate_accuracy",), 20)
    assert "| presence | 80 | at chance |" in written


def test_rate_accuracy_without_numbers_says_what_to_run(tmp_path: Path) -> None:
    arguments = argparse.Namespace(bundle="tiny", results=tmp_path, pictures=None, resamples=5)
    with pytest.raises(UsageError, match="evaluation scenes"):
        rate_accuracy.main(arguments)
