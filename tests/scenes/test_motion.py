"""Scenes in motion: a clip is a function of its seed, and the answers about it are true."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes import Backgrounds
from scenes.__main__ import main
from scenes.motion import MOTION_TASKS, MotionQuestion, Probe, Track, render_track

CLIPS = 40


@pytest.fixture(scope="module")
def tracks() -> list[Track]:
    backgrounds = Backgrounds.builtin()
    return [render_track("test", n, backgrounds) for n in range(CLIPS)]


def test_a_clip_is_a_function_of_its_seed(tracks: list[Track]) -> None:
    again = render_track("test", 3, Backgrounds.builtin())
    assert np.array_equal(again.pictures, tracks[3].pictures)
    assert again.questions == tracks[3].questions
    other = render_track("val", 3, Backgrounds.builtin())
    assert not np.array_equal(other.pictures, again.pictures)


def test_more_frames_show_the_same_at_more_times(tracks: list[Track]) -> None:
    longer = render_track("test", 3, Backgrounds.builtin(), frames=15)
    assert longer.moments[::2] == tracks[3].moments


def test_what_moves_changes_the_picture_where_it_is_and_nowhere_else(tracks: list[Track]) -> None:
    still = [track for track in tracks if track.still]
    quiet = [t for t in still if np.array_equal(t.pictures[-1][:8, :8], t.pictures[-2][:8, :8])]
    assert quiet
    for track in quiet:
        changed = (track.pictures[0] != track.pictures[-1]).any(-1).mean()
        assert changed < 0.5
    assert any(not track.still for track in tracks)


def test_right_answers_to_the_probes_make_the_right_answer(tracks: list[Track]) -> None:
    for track in tracks:
        for question in track.questions:
            answers = [probe.answer for probe in question.probes]
            assert question.compose(answers) == question.answer
            assert all(0 <= probe.frame < len(track.pictures) for probe in question.probes)


def test_no_answer_is_much_more_frequent_than_the_others(tracks: list[Track]) -> None:
    answers = Counter((q.task, q.answer) for track in tracks for q in track.questions)
    assert {task for task, _ in answers} == set(MOTION_TASKS)
    for task in ("arrival", "leaving"):
        yes, no = answers[task, "yes"], answers[task, "no"]
        assert 0.4 < yes / no < 2.5


def test_directions_are_those_of_the_objects(tracks: list[Track]) -> None:
    checked = 0
    for track in tracks:
        for question in track.questions:
            if question.task != "direction":
                continue
            kind = question.prompt.split(" the ")[1].split()[0]
            ends = (track.moments[0], track.moments[-1])
            start, end = (next(o for o in m.objects if o.kind == kind).centre for m in ends)
            dx, dy = end[0] - start[0], end[1] - start[1]
            way = {"left": -dx, "right": dx, "up": -dy, "down": dy}[question.answer]
            assert way == max(abs(dx), abs(dy))
            checked += 1
    assert checked > 5


@pytest.mark.parametrize(
    ("task", "said", "answer"),
    [
        ("direction", ["top left", "top right"], "right"),
        ("direction", ["Bottom left.", "top left"], "up"),
        ("direction", ["top left", "bottom right"], "i cannot tell"),
        ("direction", ["top left", "two"], "i cannot tell"),
        ("arrival", ["no", "yes"], "yes"),
        ("arrival", ["yes", "yes"], "no"),
        ("leaving", ["yes", "no"], "yes"),
        ("last count", ["3"], "3"),
        ("change", ["1", "3"], "more"),
        ("change", ["2", "2"], "as many"),
        ("change", ["2", "no"], "i cannot tell"),
        ("order", ["no", "yes", "no", "no"], "dog"),
        ("order", ["no", "no", "no", "yes"], "car"),
        ("order", ["no", "no", "no", "no"], "i cannot tell"),
    ],
)
def test_answers_are_composed_by_the_task_alone(task: str, said: list[str], answer: str) -> None:
    question = MotionQuestion(task, "?", "", (Probe(0, "?", ""),), ("dog", "car"))
    assert question.compose(said) == answer


def test_files_hold_frames_and_questions(tmp_path: Path) -> None:
    words = ["render", "--world", "motion", "--count", "2", "--size", "64x64", "--frames", "3"]
    main([*words, "--out", str(tmp_path)])
    rows = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert {row["clip"] for row in rows} <= {"test-000000", "test-000001"}
    assert rows[0]["probes"][0].keys() == {"frame", "prompt", "answer"}
    frames = sorted((tmp_path / "test-000001").iterdir())
    assert [frame.name for frame in frames] == ["0000.png", "0001.png", "0002.png"]
    with Image.open(frames[0]) as frame:
        assert frame.size == (64, 64)
    with pytest.raises(SystemExit):
        main(["render", "--count", "1", "--frames", "3", "--out", str(tmp_path / "other")])


def test_what_cannot_be_drawn_is_refused() -> None:
    for index, size, frames in ((-1, (64, 64), 8), (0, (63, 64), 8), (0, (64, 64), 1)):
        with pytest.raises(ValueError, match="no clip"):
            render_track("test", index, Backgrounds.builtin(), size, frames)
