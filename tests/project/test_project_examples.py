"""The examples are what their script makes, and the shipped model answers them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from edge_client import EdgeClient
from examples.demo import ASKED, OTHERS
from examples.make_examples import EXAMPLES, FOLDER
from scenes import Backgrounds, render

QUESTIONS = json.loads((FOLDER / "questions.json").read_text())


def test_pictures_and_questions_are_what_the_script_makes() -> None:
    for name, index in EXAMPLES.items():
        scene = render("test", index, Backgrounds())
        shipped = np.asarray(Image.open(FOLDER / f"{name}.png"))
        difference = np.abs(shipped.astype(int) - scene.picture.astype(int))
        assert difference.mean() < 0.5, "another Pillow may resample a little otherwise"
        assert [(q["prompt"], q["answer"]) for q in QUESTIONS[name]] == [
            (q.prompt, q.answer) for q in scene.questions
        ]


def test_answers_are_right_more_often_than_not(server_url: str) -> None:
    right = asked = 0
    with EdgeClient(server_url) as client:
        for name, questions in QUESTIONS.items():
            for question in questions:
                answer = client.ask(FOLDER / f"{name}.png", question["prompt"])
                assert answer.view == "adapter"
                right += answer.answer == question["answer"]
                asked += 1
    assert right > asked / 2


def test_the_answer_depends_on_picture_and_question(server_url: str, tmp_path: Path) -> None:
    with EdgeClient(server_url) as client:
        street, field = FOLDER / "street.png", FOLDER / "field.png"
        colour = client.ask(street, "what colour are the cars?").answer
        assert colour == "red"
        assert client.ask(field, "what colour is the car?").answer == "blue"
        assert client.ask(street, "how many cars are there?").answer != colour
        picture = np.asarray(Image.open(street)).copy()
        blue = tmp_path / "other.png"
        Image.fromarray(picture[:, :, ::-1].copy()).save(blue)
        assert client.ask(blue, "what colour are the cars?").answer != colour


def test_the_demonstration_ends_well() -> None:
    """`make demo`: its own server process, real streams; stopped when it is done."""
    completed = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=FOLDER.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert completed.returncode == 0, completed.stderr
    for file, prompts in ASKED.items():
        (travels,) = re.findall(
            rf"{file}, 256x256, .* travels as ([\d,]+) bytes:\n", completed.stdout
        )
        assert 100 < int(travels.replace(",", "")) < 4_000
        for prompt in prompts:
            assert re.search(rf"^  {re.escape(prompt)} +\w+", completed.stdout, re.M)
    for name in ("CoTAM", *OTHERS):
        rows = re.findall(rf" {name} +[\d,]+ B   \d\d\.\d dB", completed.stdout)
        assert len(rows) == len(ASKED)
    url = re.search(r"^ready after \d+ s: http://127\.0\.0\.1:(\d+)$", completed.stdout, re.M)
    assert url is not None
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{url[1]}/livez", trust_env=False)
