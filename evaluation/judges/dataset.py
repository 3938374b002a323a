"""Questions about pictures: of a JSON lines file with pictures on disk, or of Scenes.

{"question_id": 1203, "image": "test-000012.png", "text": "how many cars?", "category": "count",
 "answer": "3"}

This is what LLaVA's evaluation reads, with the right answer added: a string, or a list where
several are right. `python -m scenes render` writes such files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from edge_client.pictures.images import Picture, load
from scenes import Backgrounds, Scene, Split, render
from scenes.questions import family
from shared.errors import UsageError

ALL: Final = "all"
NUMBERS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)


@dataclass(frozen=True)
class LabelledQuestion:
    """A question, the answers that count as right, and what kind of question it is."""

    text: str
    answers: tuple[str, ...]
    category: str


@dataclass(frozen=True)
class Item:
    """A picture and the questions about it; `load` gives its pixels u8 [H, W, 3]."""

    name: str
    load: Callable[[], Picture]
    questions: tuple[LabelledQuestion, ...]

    def read(self) -> Picture:
        """The pixels, as `load` gives them."""
        return self.load()


def scene_items(count: int, split: Split = "test") -> list[Item]:
    """Scenes 0 .. count - 1 of a split."""
    backgrounds = Backgrounds.builtin()
    items = []
    for index in range(count):
        scene = render(split, index, backgrounds)
        questions = (
            LabelledQuestion(q.prompt, (q.answer,), family(scene, q)) for q in scene.questions
        )
        items.append(Item(f"{split}-{index:06d}", partial(_picture_of, scene), tuple(questions)))
    return items


def _picture_of(scene: Scene) -> Picture:
    return scene.picture


def read_dataset(file: Path, images: Path | None = None, most: int | None = None) -> list[Item]:
    """The pictures of a JSON lines file in the order of their first questions, the first `most`.

    images: their folder, by default the file's own. Raises UsageError for what is not of the form
    above, with its line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"there are no questions to read at {file}", hint="name a JSON lines file by --dataset"
        ) from error
    folder = file.parent if images is None else images
    by_image: dict[str, list[LabelledQuestion]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image, question = _question(line, f"{file.name}, line {number}")
            by_image.setdefault(image, []).append(question)
    if not by_image:
        raise UsageError(f"{file.name} holds no questions")
    return [
        Item(image, partial(load, folder / image, Path(image).name), tuple(questions))
        for image, questions in list(by_image.items())[:most]
    ]


def _question(line: str, place: str) -> tuple[str, LabelledQuestion]:
    try:
        fields: Any = json.loads(line)
        image, text, answers = fields["image"], fields["text"], fields["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{place} is no question with its answer",
            hint='a line is {"image": ..., "text": ..., "answer": ..., "category": ...}',
        ) from error
    several = answers if isinstance(answers, list) else [answers]
    return str(image), LabelledQuestion(
        str(text), tuple(map(str, several)), str(fields.get("category", ALL))
    )


def is_right(said: str, answers: Iterable[str]) -> bool:
    """Whether what a model wrote is one of the right answers.

    Case, punctuation and articles do not count, and numbers up to twelve may be words. Of yes and
    no the first word decides, as POPE's evaluation has it: "Yes, there is a car."
    """
    words = _words(said)
    return any(
        words[:1] == wanted if wanted in (["yes"], ["no"]) else words == wanted
        for wanted in map(_words, answers)
    )


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return [
        str(NUMBERS.index(word)) if word in NUMBERS else word
        for word in words
        if word not in ("a", "an", "the")
    ]
