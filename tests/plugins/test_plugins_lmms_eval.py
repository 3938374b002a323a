"""The plug-in of lmms-eval, as far as it goes without it; `make lmms-check` runs it for real."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plugins.lmms_eval.tasks.scenes.utils import graded, visual
from scenes import Backgrounds, render

ROOT = Path(__file__).parents[2]


def test_a_picture_of_the_task_is_the_scene() -> None:
    (picture,) = visual({"split": "test", "index": 3})
    assert np.array_equal(np.asarray(picture), render("test", 3, Backgrounds.builtin()).picture)


@pytest.mark.parametrize(
    ("said", "right"), [("two", 1.0), (" Two.", 1.0), ("two cars", 0.0), ("", 0.0)]
)
def test_answers_are_graded_whatever_their_case(said: str, right: float) -> None:
    assert graded({"answer": "two"}, [said]) == {"accuracy": right}


def test_questions_are_those_of_the_scenes() -> None:
    pytest.importorskip("datasets")
    from plugins.lmms_eval.tasks.scenes.utils import questions

    rows: Any = questions([{"split": "test", "start": 0, "count": 2}])
    scenes = [render("test", index, Backgrounds.builtin()) for index in range(2)]
    assert rows["question"] == [q.prompt for scene in scenes for q in scene.questions]
    assert rows["answer"] == [q.answer for scene in scenes for q in scene.questions]


@pytest.mark.parametrize(
    "module", ["plugins", "plugins.codec", "plugins.pillow", "plugins.vllm", "plugins.lmms_eval"]
)
def test_nothing_heavy_is_imported_until_it_is_used(module: str) -> None:
    heavy = "{'torch', 'transformers', 'onnxruntime', 'constriction', 'httpx', 'vllm', 'lmms_eval'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert completed.stdout == "[]\n"


def test_the_entry_point_leads_to_the_manifest() -> None:
    points = entry_points(group="lmms_eval.models")
    named = {point.name: point.value for point in points}
    if "cotam" not in named:
        pytest.skip("the package was installed before it had this entry point")
    assert named["cotam"] == "plugins.lmms_eval:manifest"
