"""The examples are what their script makes, and the shipped model answers them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from edge_client import EdgeClient
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
        assert client.ask(blue, "what colour are the cars?").answer == "blue"
