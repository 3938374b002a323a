"""What a question counts for."""

from __future__ import annotations

from collections import Counter

import pytest

from evaluation.judges.accuracy import blind_scores
from evaluation.judges.families import COLUMNS, FAMILIES, OF_A_KIND, OVERALL, Posed, is_of_a_kind
from scenes import Backgrounds, render
from scenes.questions import family
from scenes.world import PLURALS


@pytest.mark.parametrize(
    ("asked", "prompt", "answers", "part"),
    [
        ("count", "how many cars?", ["3"], True),
        ("count", "Count the people", ["1", "one"], True),
        ("count", "how many cars?", ["0"], False),
        ("count", "how many cars?", ["5"], False),
        ("count", "how many Red cars?", ["3"], False),
        ("count", "how many cars?", [], False),
        ("number", "what number is on the sign", ["3"], False),
    ],
)
def test_the_part_of_count(asked: str, prompt: str, answers: list[str], part: bool) -> None:
    assert is_of_a_kind(asked, prompt, answers) == part


def test_a_question_is_in_its_columns() -> None:
    assert COLUMNS[: len(FAMILIES)] == FAMILIES
    assert Posed("count", "2", "how many dogs").columns == ("count", OVERALL, OF_A_KIND)
    assert Posed("count", "2", "how many red dogs").columns == ("count", OVERALL)
    assert Posed("count", "2").columns == ("count", OVERALL)
    assert Posed("unknown", "i cannot tell", "who painted this").columns == ("unknown",)


def test_the_part_is_what_was_drawn_of_a_kind() -> None:
    """Each scene has a kind of which there are 1 to 4, and all of that kind are counted."""
    of_a_kind = 0
    for index in range(30):
        scene = render("test", index, Backgrounds())
        kinds = Counter(PLURALS[thing.kind] for thing in scene.objects)
        for question in scene.questions:
            posed = Posed(family(scene, question), question.answer, question.prompt)
            if OF_A_KIND in posed.columns:
                (kind,) = kinds.keys() & set(question.prompt.strip("?").split())
                assert question.answer == str(kinds[kind])
                of_a_kind += 1
    assert of_a_kind >= 30


def test_blind_scores_count_yes_and_no_apart() -> None:
    answers = ["yes", "yes", "no", "left", "left", "right"]
    questions = [Posed("relation", answer) for answer in answers]
    guessed = {"relation: yes/no": "no", "relation: left/right": "left", "unknown": "i cannot tell"}
    scores = blind_scores([*questions, Posed("unknown", "i cannot tell")], guessed)
    assert scores["relation"] == scores[OVERALL] == pytest.approx(3 / 6)
    assert scores["unknown"] == 1.0
    assert scores["count"] == 0.0


def test_who_guesses_knows_which_part_it_is() -> None:
    questions = [Posed("count", answer, "how many cars") for answer in "00012"]
    scores = blind_scores(questions, {"count": "0", OF_A_KIND: "1"})
    assert scores["count"] == scores[OVERALL] == pytest.approx(3 / 5)
    assert scores[OF_A_KIND] == pytest.approx(1 / 2)
