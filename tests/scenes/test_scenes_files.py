"""Scenes as files: the pictures and questions of the scenes, the same whenever they are made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes import Backgrounds, Scene, render
from scenes.__main__ import main
from scenes.files import render_files
from scenes.questions import FAMILIES, family

SIZE = (96, 80)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_hold_what_the_scenes_hold(tmp_path: Path) -> None:
    count = render_files("test", range(3, 6), Backgrounds(), SIZE, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert len(lines) == count == len({line["question_id"] for line in lines})
    for index in range(3, 6):
        scene = render("test", index, Backgrounds(), SIZE)
        name = f"test-{index:06d}.png"
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(image), scene.picture)
        of_scene = [line for line in lines if line["image"] == name]
        assert [(line["text"], line["answer"], line["category"]) for line in of_scene] == [
            (q.prompt, q.answer, family(scene, q)) for q in scene.questions
        ]


def test_an_interrupted_run_goes_on_to_the_same_files(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    render_files("test", range(4), Backgrounds(), SIZE, whole)
    render_files("test", range(2), Backgrounds(), SIZE, part)
    before = (part / "test-000000.png").stat().st_mtime_ns
    render_files("test", range(4), Backgrounds(), SIZE, part)
    assert contents(part) == contents(whole)
    assert (part / "test-000000.png").stat().st_mtime_ns == before


def test_a_folder_never_mixes_two_worlds(tmp_path: Path) -> None:
    render_files("test", range(1), Backgrounds(), SIZE, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds other scenes"):
        render_files("val", range(1), Backgrounds(), SIZE, tmp_path)
    with pytest.raises(ValueError, match="holds other scenes"):
        render_files("test", range(1), Backgrounds(), SIZE, tmp_path, version=2)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "1", "--size", "32x32"], "at least 64 pixels"),
        (["--count", "1", "--size", "large"], "invalid literal"),
        (["--count", "1", "--start", "-1"], "negative"),
        (["--count", "1", "--photographs", "{empty}"], "no photographs"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(empty=tmp_path / "empty") for word in words]
    with pytest.raises(SystemExit) as stopped:
        main(["render", "--out", str(tmp_path / "out"), *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_command_needs_neither_torch_nor_the_rest_of_the_house(tmp_path: Path) -> None:
    code = (
        "import sys; from scenes.__main__ import main; main(sys.argv[1:]);"
        "assert not {'torch', 'shared', 'evaluation'} & set(sys.modules)"
    )
    words = ["render", "--count", "1", "--size", "64x64", "--out", str(tmp_path / "out")]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    assert (tmp_path / "out" / "questions.jsonl").read_text().count("test-000000.png") > 3


def test_words_are_large_or_small_print(many: list[Scene]) -> None:
    counts = Counter(family(scene, q) for scene in many for q in scene.questions)
    assert set(counts) == set(FAMILIES)
    assert 0.2 < counts["small print"] / (counts["large print"] + counts["small print"]) < 0.6


def test_print_has_the_same_size_in_a_larger_picture() -> None:
    for index in range(30):
        small, large = (
            render("test", index, Backgrounds(), size) for size in ((96, 96), (384, 384))
        )
        both = [
            [family(scene, q) for q in scene.questions if q.task == "print"]
            for scene in (small, large)
        ]
        texts = [[o.text for o in scene.objects] for scene in (small, large)]
        if texts[0] == texts[1]:
            assert both[0] == both[1]
