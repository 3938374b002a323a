"""A small run of the benchmark, stopped and gone on with, and what is made of its numbers."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.commands.models import rate_accuracy, scenes
from evaluation.judges.accuracy import (
    ORIGINAL,
    VIEWS,
    Condition,
    collect,
    guesses,
    guesses_key,
    key_of,
)
from evaluation.judges.equal_accuracy import changes
from evaluation.judges.families import COLUMNS, FAMILIES, OF_A_KIND, OVERALL
from evaluation.judges.variants import Variant, names_of, read_variants
from evaluation.report.records import Records
from evaluation.stats.bootstrap import interval, resamples
from scenes import WORDS, Backgrounds
from shared.bundle import ADAPTER, DECODER, ENCODER, ENTROPY, GUIDANCE, MANIFEST, PRINT, Bundle
from shared.errors import UsageError

FORMATS = ("JPEG", "WebP", "AVIF")


@pytest.fixture(scope="module")
def joint(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another export: the same weights, larger steps between levels."""
    return changed(bundle, tmp_path_factory.mktemp("joint"), "guidance", {"step": 60})


def changed(bundle: Bundle, folder: Path, part: str, fields: dict[str, Any]) -> Bundle:
    """A bundle without language model, its manifest changed in `fields` of a part."""
    for name in (GUIDANCE, ENCODER, PRINT, ENTROPY, DECODER, ADAPTER):
        shutil.copy(bundle.path(name), folder)
    manifest = bundle.manifest.model_dump()
    manifest[part].update(fields)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def variants(joint: Bundle) -> list[Variant]:
    return read_variants([f"joint={joint.root}"])


@pytest.fixture(scope="module")
def measured(
    bundle: Bundle, variants: list[Variant], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Raw numbers of two scenes at one quality, and of two more that were not compressed."""
    path = tmp_path_factory.mktemp("results") / "scenes.jsonl"
    scenes.measure(bundle, Backgrounds(), 2, [2.0], Records(path), variants, 4)
    return path


def test_all_views_and_formats_are_measured(
    bundle: Bundle, variants: list[Variant], measured: Path
) -> None:
    collected = collect(Records(measured), bundle.hex_id)
    assert {c.codec for c in collected.sizes} == {ORIGINAL, *VIEWS, variants[0].codec, *FORMATS}
    sizes = {view: collected.sizes[Condition(view, 2.0)] for view in VIEWS}
    assert (sizes["base"] == sizes["adapter"]).all()
    assert (sizes["guidance"] == sizes["full"]).all()
    assert (collected.sizes[Condition(ORIGINAL)] == 256 * 256 * 3).all()
    asked = dict(zip(COLUMNS, collected.questions.sum(axis=0), strict=True))
    assert asked[OVERALL] == sum(asked[name] for name in FAMILIES[1:]) - asked["unknown"] > 0
    assert 0 < asked[OF_A_KIND] <= asked["count"]


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    bundle: Bundle, variants: list[Variant], measured: Path, tmp_path: Path
) -> None:
    whole = measured.read_bytes()
    path = tmp_path / "scenes.jsonl"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    scenes.measure(bundle, Backgrounds(), 2, [2.0], Records(path), variants)
    resumed = collect(Records(path), bundle.hex_id)
    uninterrupted = collect(Records(measured), bundle.hex_id)
    assert path.read_bytes().startswith(whole[: len(whole) // 2])
    assert set(resumed.sizes) == set(uninterrupted.sizes)
    for condition in uninterrupted.sizes:
        assert (resumed.sizes[condition] == uninterrupted.sizes[condition]).all()
        assert (resumed.right[condition] == uninterrupted.right[condition]).all()


def test_more_scenes_are_asked_about_uncompressed(bundle: Bundle, measured: Path) -> None:
    records = Records(measured)
    drawn = collect(records, bundle.hex_id, 4)
    assert set(drawn.sizes) == {Condition(ORIGINAL)}
    assert len(drawn.questions) == 4
    # By default the pictures that were compressed as well.
    assert len(collect(records, bundle.hex_id).questions) == 2


def test_records_without_prompts_stay_readable(
    bundle: Bundle, measured: Path, tmp_path: Path
) -> None:
    lines = measured.read_text().splitlines(keepends=True)
    path = tmp_path / "scenes.jsonl"
    path.write_text("".join(line for line in lines if "prompts" not in json.loads(line)["key"]))
    before, whole = (collect(Records(file), bundle.hex_id) for file in (path, measured))
    part = COLUMNS.index(OF_A_KIND)
    assert not before.questions[:, part].any()
    assert (before.questions[:, :part] == whole.questions[:, :part]).all()
    assert {**before.blind, OF_A_KIND: 0} == {**whole.blind, OF_A_KIND: 0}
    answered = path.read_text().count('"right"')
    scenes.measure(bundle, Backgrounds(), 2, [2.0], Records(path))
    assert path.read_text().count('"right"') == answered
    assert (collect(Records(path), bundle.hex_id).questions == whole.questions).all()


def test_the_section_holds_all_tables(
    bundle: Bundle, variants: list[Variant], measured: Path, tmp_path: Path
) -> None:
    arguments = argparse.Namespace(pictures=2, uncompressed=4, words=("scenes", "--pictures", "2"))
    collected, drawn = (collect(Records(measured), bundle.hex_id, count) for count in (2, 4))
    written = scenes.text(collected, drawn, variants, bundle, 0, arguments)
    assert "`python -m evaluation scenes --pictures 2`" in written
    assert f"*joint* is bundle {variants[0].bundle.hex_id}" in written
    names = (ORIGINAL, OVERALL, *names_of(variants).values(), *FORMATS)
    assert all(f"| {name} |" in written for name in names)
    assert "| + guidance + adapter, quality 2 | joint, quality 2 |" in written
    assert written.count(f"| {OF_A_KIND} |") == 2
    assert "of scenes 0 to 3:" in written
    assert OF_A_KIND not in written[written.index("| codec |") :]
    assert "of scenes 0 to" not in scenes.text(collected, collected, variants, bundle, 0, arguments)
    scenes.draw(collected, names_of(variants), tmp_path / "scenes.png")
    assert (tmp_path / "scenes.png").read_bytes().startswith(b"\x89PNG")


def test_a_variant_is_a_condition_of_its_own(
    bundle: Bundle, joint: Bundle, variants: list[Variant], measured: Path
) -> None:
    """Its own level maps make other streams, and another export would be asked about again."""
    collected = collect(Records(measured), bundle.hex_id)
    (condition,) = collected.of(f"variant joint {joint.hex_id}")
    assert joint.hex_id != bundle.hex_id
    assert (collected.sizes[condition] != collected.sizes[Condition("full", 2.0)]).any()
    assert collected.right[condition].sum() > 0


def test_a_variant_that_cannot_be_measured_is_one_clear_line(
    bundle: Bundle, tmp_path: Path
) -> None:
    for wrong in ("joint", "=joint", "joint="):
        with pytest.raises(UsageError, match="lacks a name or a place"):
            read_variants([wrong])
    another = "7" * len(bundle.manifest.tower.fingerprint)
    other = changed(bundle, tmp_path, "tower", {"fingerprint": another})
    records = Records(tmp_path / "scenes.jsonl")
    with pytest.raises(UsageError, match="joint has no adapter for the tower"):
        scenes.measure(
            bundle, Backgrounds(), 1, [2.0], records, read_variants([f"joint={other.root}"])
        )


def test_the_blind_guess_as_in_training(records_of_guesses: Records) -> None:
    guessed = guesses(records_of_guesses)
    assert {"count", "scene", "presence: yes/no", "relation: left/right"} <= set(guessed)
    assert guessed["unknown"] == "i cannot tell"
    assert guessed["large print"] in WORDS
    assert guessed[OF_A_KIND] in "1234"


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
        records.add(guesses_key(), {"count": "2"})
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
    collected = collect(Records(folder / "scenes.jsonl"), bundle.hex_id)
    for anchor, change in (("base", -0.5), ("JPEG", -0.75)):
        all_changes = changes(collected, "full", anchor, resamples(30, 5))
        family = FAMILIES.index("count")
        assert all_changes[:, family] == pytest.approx(change, abs=1e-6)
        assert all_changes[:, 0] == pytest.approx(change, abs=1e-6)
        assert np.isnan(all_changes[:, FAMILIES.index("large print")]).all()
        probable = changes(collected, "full", anchor, resamples(30, 5), ["count"], probable=True)
        assert probable == pytest.approx(change, abs=1e-6)


def arguments_for(folder: Path, *variants: Variant) -> argparse.Namespace:
    """The options of `rate_accuracy` on results in a folder."""
    return argparse.Namespace(
        bundle="tiny",
        variant=[f"{variant.label}={variant.bundle.root}" for variant in variants],
        results=folder,
        pictures=None,
        resamples=20,
        report=folder / "docs" / "results.md",
        words=("rate_accuracy",),
    )


def test_rate_accuracy_writes_its_section(invented: Callable[[dict[str, float]], Path]) -> None:
    arguments = arguments_for(invented({"base": 1.0, "guidance": 0.8}))
    rate_accuracy.main(arguments)
    written = arguments.report.read_text()
    assert "| family | questions | against base codec |\n" in written
    assert "-20.0 %" in written
    for name in ("rate_accuracy.png", "rate_accuracy_views.png"):
        file = arguments.report.parent / "img" / name
        assert file.read_bytes().startswith(b"\x89PNG")


def test_a_variant_has_a_table_of_its_own(
    variants: list[Variant], invented: Callable[[dict[str, float]], Path]
) -> None:
    sizes = {"base": 1.0, "guidance": 0.8, "full": 0.5, variants[0].codec: 0.25, "JPEG": 2.0}
    arguments = arguments_for(invented(sizes), *variants)
    rate_accuracy.main(arguments)
    _, full, joint = arguments.report.read_text().split("| family |")
    assert "**joint**:" in full
    assert "| against base codec | against + guidance | against + guidance + adapter |" in joint
    row = next(line for line in joint.splitlines() if line.startswith("| overall |"))
    percentages = [float(cell.split(" %")[0]) for cell in row.split("|")[3:-1]]
    assert percentages == pytest.approx([-75.0, -68.75, -50.0, -87.5], abs=0.1)


def test_a_variant_without_numbers_is_said(
    variants: list[Variant], invented: Callable[[dict[str, float]], Path]
) -> None:
    folder = invented({"base": 1.0, "guidance": 0.8})
    with pytest.raises(UsageError, match=variants[0].bundle.hex_id):
        rate_accuracy.main(arguments_for(folder, *variants))


def test_a_family_that_is_guessed_has_no_change(bundle: Bundle, tmp_path: Path) -> None:
    """Yes and no, answered right half of the time at any size."""
    records = Records(tmp_path / "scenes.jsonl")
    records.add(guesses_key(), {"presence: yes/no": "yes"})
    answers, right = ["yes", "no"] * 4, [1, 1, 0, 0] * 2
    for index in range(10):
        value = {"bytes": 1, "right": right, "probable": right}
        value |= {"families": ["presence"] * 8, "answers": answers}
        records.add(key_of(bundle.hex_id, index, 0, Condition(ORIGINAL)), value)
        for codec in ("base", "guidance"):
            for quality in (1, 2):
                value = {"bytes": 100 * quality, "right": right, "probable": right}
                records.add(key_of(bundle.hex_id, index, 0, Condition(codec, quality)), value)
    collected = collect(records, bundle.hex_id)
    written = rate_accuracy.text(collected, bundle, [], ("rate_accuracy",), 20)
    assert "| presence | 80 | at chance |" in written


def test_rate_accuracy_without_numbers_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="evaluation scenes"):
        rate_accuracy.main(arguments_for(tmp_path))
