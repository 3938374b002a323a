"""Every answer is what the objects say, and nobody does well without looking."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from scenes import (
    CANNOT_TELL,
    COLOURS,
    KINDS,
    TASKS,
    WORLDS,
    Backgrounds,
    Question,
    Scene,
    render,
)
from scenes.questions import OUTSIDE, SIDES
from scenes.versions import PARTNERS
from scenes.world import PLURALS
from tests.scenes.truth import matching, right_answer, things

# What the best guess from the words of a question alone may score, on scenes that it was not
# made from. A share of yes and no is one half, of corners a quarter, of numbers from 10 to 99 none.
BLIND = {
    "count": 0.34,
    "presence": 0.57,
    "colour": 0.2,
    "number": 0.05,
    "print": 0.15,
    "position": 0.34,
    "relation": 0.57,
    "compare": 0.6,
    "scene": 0.27,
}


def asked(scenes: list[Scene]) -> list[tuple[Scene, Question]]:
    return [(scene, question) for scene in scenes for question in scene.questions]


def test_every_answer_is_what_the_objects_say(many: list[Scene]) -> None:
    tasks = Counter(question.task for _, question in asked(many))
    assert set(tasks) == set(TASKS)
    for scene, question in asked(many):
        if question.task != "unknown":
            assert right_answer(scene, question) == question.answer, question


def test_what_cannot_be_told_is_really_not_there(many: list[Scene]) -> None:
    for scene, question in asked(many):
        if question.task != "unknown":
            assert question.answer != CANNOT_TELL
            continue
        assert question.answer == CANNOT_TELL
        if question.prompt.rstrip("?") not in OUTSIDE:
            (name,) = things(question.prompt)
            assert not matching(scene, *name)


def test_questions_name_one_thing_without_doubt(many: list[Scene]) -> None:
    """Relations and positions leave a margin: no truth hangs on a pixel."""
    for scene, question in asked(many):
        if question.task not in ("position", "relation"):
            continue
        height, width = scene.mask.shape
        centres = []
        for name in things(question.prompt):
            (thing,) = matching(scene, *name)
            centres.append((thing.centre[0] / width, thing.centre[1] / height))
        if question.task == "position":
            assert min(abs(v - 0.5) for v in centres[0]) > 0.05
        else:
            (ax, ay), (bx, by) = centres
            across = re.search("left|right", question.prompt)
            assert abs(ax - bx if across else ay - by) > 0.1


@pytest.mark.parametrize("task", BLIND)
def test_guessing_without_looking_is_no_use(many: list[Scene], task: str) -> None:
    half = len(many) // 2
    learnt: dict[str, Counter[str]] = defaultdict(Counter)
    for _, question in asked(many[:half]):
        if question.task == task:
            for key in keys(question.prompt):
                learnt[key][question.answer] += 1
    rest = [question for _, question in asked(many[half:]) if question.task == task]
    assert len(rest) > 20
    right = sum(guess(learnt, q.prompt) == q.answer for q in rest)
    assert right / len(rest) <= BLIND[task]


def test_answers_of_counting_are_spread(many: list[Scene], version: int) -> None:
    answers = Counter(q.answer for _, q in asked(many) if q.task == "count")
    most = WORLDS[version].most_of_a_kind
    shares = {number: answers[str(number)] / answers.total() for number in range(most + 1)}
    assert min(shares.values()) > 0.48 / (most + 1)


def test_absent_partners_are_asked_about_more_often_in_version_2() -> None:
    """The adversarial negatives of POPE: what usually comes with what is there."""
    shares = {}
    for version in WORLDS:
        asked_about = Counter[bool]()
        for index in range(200):
            scene = render("test", index, Backgrounds(), (64, 64), version)
            here = {o.kind for o in scene.objects} - {"sign"}
            partners = {PARTNERS[kind] for kind in here}
            for question in scene.questions:
                if (question.task, question.answer) == ("presence", "no"):
                    ((colour, kind),) = things(question.prompt)
                    if not colour and kind != "sign":
                        asked_about[kind in partners] += 1
        shares[version] = asked_about[True] / asked_about.total()
    assert shares[2] > shares[1] + 0.15


def keys(prompt: str) -> tuple[str, str]:
    """A question without its colours, and without its kinds as well."""
    fine = re.sub(rf"\b({'|'.join(COLOURS)})\b", "_", prompt.rstrip("?"))
    return fine, re.sub(rf"\b({'|'.join([*PLURALS.values(), *KINDS])})\b", "_", fine)


def guess(learnt: dict[str, Counter[str]], prompt: str) -> str:
    """The most frequent answer to these very words where they were common, else to their like."""
    fine, coarse = keys(prompt)
    answers = learnt[fine] if learnt[fine].total() >= 8 else learnt[coarse]
    return answers.most_common(1)[0][0] if answers else ""


def test_what_a_question_names_travels_with_it(many: list[Scene]) -> None:
    named = [q for scene in many for q in scene.questions if q.kind]
    for question in named:
        words = question.prompt.rstrip("?").split()
        assert question.kind in words or PLURALS[question.kind] in words
        assert not question.colour or question.colour in words
        assert question.direction in question.prompt
    assert {q.task for q in named} == set(TASKS) - {"scene"}
    assert any(q.colour for q in named if q.task == "count")
    assert {q.direction for q in named if q.task == "relation"} == {"", *SIDES}
