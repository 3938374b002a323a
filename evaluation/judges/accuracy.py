"""Right and wrong answers of a set of pictures under many conditions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.judges.families import COLUMNS, OVERALL, Posed, form_of
from evaluation.report.records import Fields, Records
from scenes import VERSION, Backgrounds, render
from scenes.questions import family

ORIGINAL: Final = "uncompressed"
VIEWS: Final = {
    "base": "base codec",
    "guidance": "+ guidance",
    "adapter": "+ adapter",
    "full": "+ guidance + adapter",
}
GUESSED_FROM: Final = 500
"""Scenes of the training split from which one guesses who sees no picture."""

Array = NDArray[Any]


@dataclass(frozen=True, order=True)
class Condition:
    """How a picture reached the model: `codec` is a view of ours, a format, or ORIGINAL."""

    codec: str
    quality: float = 0.0

    @property
    def is_view(self) -> bool:
        return self.codec in VIEWS


@dataclass
class Measured:
    """Sums over the questions of each picture: their number [P, COLUMNS], and by condition bytes
    [P], right answers and the probabilities that the model gave to the right ones [P, COLUMNS]."""

    questions: Array
    blind: dict[str, float]
    sizes: dict[Condition, Array] = field(default_factory=dict)
    right: dict[Condition, Array] = field(default_factory=dict)
    probable: dict[Condition, Array] = field(default_factory=dict)

    def accuracy(self, condition: Condition, weights: Array) -> Array:
        """Share of right answers [R, COLUMNS] for pictures drawn `weights` [R, P] times."""
        return self._mean(self.right[condition], weights)

    def probability(self, condition: Condition, weights: Array) -> Array:
        """Mean probability of the right answer [R, COLUMNS]: accuracy without its steps."""
        return self._mean(self.probable[condition], weights)

    def size(self, condition: Condition, weights: Array) -> Array:
        """Mean bytes [R]."""
        mean_size: Array = weights @ self.sizes[condition] / weights.sum(axis=1)
        return mean_size

    def best_view(self) -> str:
        """The most that the bundle can do: it may have no adapter for its tower."""
        return "full" if self.of("full") else "guidance"

    def _mean(self, sums: Array, weights: Array) -> Array:
        asked, total = weights @ self.questions, weights @ sums
        return np.divide(total, asked, out=np.full(asked.shape, np.nan), where=asked > 0)

    def of(self, codec: str) -> list[Condition]:
        """The conditions of a codec, smallest quality first."""
        return sorted(condition for condition in self.sizes if condition.codec == codec)


def key_of(model: str, index: int, crc: int, condition: Condition, world: int = VERSION) -> Fields:
    """What an answer depends on: the model, the picture and its codec."""
    return {
        "scenes": world,
        "model": model,
        "index": index,
        "crc": crc,
        "codec": condition.codec,
        "quality": condition.quality,
    }


def prompts_key(index: int, crc: int, world: int = VERSION) -> Fields:
    """Where the questions of a scene are written down, whatever model answers them."""
    return {"scenes": world, "prompts": index, "crc": crc}


def guesses_key(world: int = VERSION) -> Fields:
    """Where the guesses are written down."""
    return {"scenes": world, "guesses": GUESSED_FROM, "columns": [*COLUMNS]}


def collect(
    records: Records, model: str, pictures: int | None = None, world: int = VERSION
) -> Measured:
    """What is known of a model: the conditions that were measured on all the same pictures.

    `pictures`: only the first so many indices; by default all that were shown in more than one way.
    """
    most = sys.maxsize if pictures is None else pictures
    by_condition: dict[Condition, dict[int, Fields]] = {}
    crcs: dict[int, int] = {}
    for key, value in records:
        of_this_model = (key.get("scenes"), key.get("model")) == (world, model)
        if of_this_model and key.get("index", most) < most:
            condition = Condition(key["codec"], float(key["quality"]))
            by_condition.setdefault(condition, {})[key["index"]] = value
            crcs[key["index"]] = key["crc"]
    originals = by_condition.get(Condition(ORIGINAL), {})
    if pictures is None:
        sent = {
            index for c, values in by_condition.items() if c.codec != ORIGINAL for index in values
        }
        originals = {index: value for index, value in originals.items() if index in sent}
    order = sorted(originals)
    prompt_records = [records.get(prompts_key(index, crcs[index], world)) for index in order]
    posed = [
        # Of the questions of some pictures alone there would be another sample.
        _posed(originals[index], prompt_record if all(prompt_records) else None)
        for index, prompt_record in zip(order, prompt_records, strict=True)
    ]
    memberships = [_members(questions) for questions in posed]
    measured = Measured(
        np.array([membership.sum(axis=0) for membership in memberships]).reshape(-1, len(COLUMNS)),
        blind_scores(chain.from_iterable(posed), guesses(records, world) if order else {}),
    )
    for condition, values in by_condition.items():
        if all(index in values for index in order):
            measured.sizes[condition] = np.array([values[i]["bytes"] for i in order], np.float64)
            for name, sums in (("right", measured.right), ("probable", measured.probable)):
                sums[condition] = np.array(
                    [
                        values[i][name] @ membership
                        for i, membership in zip(order, memberships, strict=True)
                    ]
                ).reshape(-1, len(COLUMNS))
    return measured


def _posed(original: Fields, prompt_record: Fields | None) -> list[Posed]:
    """The questions of a picture; records of before prompts were written down have none."""
    families, answers = original["families"], original["answers"]
    prompts = prompt_record["prompts"] if prompt_record else [None] * len(families)
    fields = zip(families, answers, prompts, strict=True)
    return [Posed(family, answer, prompt) for family, answer, prompt in fields]


def _members(questions: Sequence[Posed]) -> Array:
    """Which question is in which column, f64 [Q, COLUMNS] of 0 and 1."""
    columns_of_each = [question.columns for question in questions]
    return np.array(
        [[float(column in columns) for column in COLUMNS] for columns in columns_of_each]
    )


def guesses(records: Records, world: int = VERSION) -> dict[str, str]:
    """The most frequent answer of each column and form of answer, in training: see `form_of`."""

    def count() -> dict[str, str]:
        counts: dict[str, Counter[str]] = {}
        for index in range(GUESSED_FROM):
            scene = render("train", index, Backgrounds(), (96, 96), world)
            for question in scene.questions:
                posed = Posed(family(scene, question), question.answer, question.prompt)
                for column in posed.columns:
                    form = form_of(column, posed.answer)
                    counts.setdefault(form, Counter())[posed.answer] += 1
        return {form: answers.most_common(1)[0][0] for form, answers in counts.items()}

    return records.measure(guesses_key(world), count)


def blind_scores(questions: Iterable[Posed], guessed: Mapping[str, str]) -> dict[str, float]:
    """Share of right answers by column for one who sees the question alone."""
    asked, right = Counter[str](), Counter[str]()
    for question in questions:
        for column in question.columns:
            known = question.family if column == OVERALL else column
            asked[column] += 1
            right[column] += guessed.get(form_of(known, question.answer)) == question.answer
    return {column: right[column] / max(1, asked[column]) for column in COLUMNS}
