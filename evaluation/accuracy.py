"""Right and wrong answers of a set of pictures under many conditions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.records import Fields, Records
from scenes import VERSION, Backgrounds, render
from scenes import questions as world

ORIGINAL: Final = "uncompressed"
VIEWS: Final = {
    "base": "base codec",
    "guidance": "+ guidance",
    "adapter": "+ adapter",
    "full": "+ guidance + adapter",
}
OVERALL: Final = "overall"
"""All questions but those of the family `unknown`, which no picture answers."""

FAMILIES: Final = (OVERALL, *world.FAMILIES)
FORMS: Final = (("yes", "no"), ("left", "right"), ("above", "below"))
"""Answers of which a question names or implies the two that are possible."""

GUESSED_FROM: Final = 500
"""Scenes of the training split from which one guesses who sees no picture."""

Array = NDArray[Any]


@dataclass(frozen=True, order=True)
class Condition:
    """How a picture reached the model: `codec` is a view of ours, a format, or ORIGINAL."""

    codec: str
    quality: float = 0.0

    @property
    def ours(self) -> bool:
        return self.codec in VIEWS


@dataclass
class Measured:
    """Sums over the questions of each picture: their number [P, families], and by condition bytes
    [P], right answers and the probabilities that the model gave to the right ones [P, families]."""

    questions: Array
    blind: dict[str, float]
    sizes: dict[Condition, Array] = field(default_factory=dict)
    right: dict[Condition, Array] = field(default_factory=dict)
    probable: dict[Condition, Array] = field(default_factory=dict)

    def accuracy(self, condition: Condition, weights: Array) -> Array:
        """Share of right answers [R, families] for pictures drawn `weights` [R, P] times."""
        return self._mean(self.right[condition], weights)

    def probability(self, condition: Condition, weights: Array) -> Array:
        """Mean probability of the right answer [R, families]: accuracy without its steps."""
        return self._mean(self.probable[condition], weights)

    def size(self, condition: Condition, weights: Array) -> Array:
        """Mean bytes [R]."""
        found: Array = weights @ self.sizes[condition] / weights.sum(axis=1)
        return found

    def best_view(self) -> str:
        """The most that the bundle can do: it may have no adapter for its tower."""
        return "full" if self.of("full") else "guidance"

    def _mean(self, sums: Array, weights: Array) -> Array:
        asked, found = weights @ self.questions, weights @ sums
        return np.divide(found, asked, out=np.full(asked.shape, np.nan), where=asked > 0)

    def of(self, codec: str) -> list[Condition]:
        """The conditions of a codec, smallest quality first."""
        return sorted(condition for condition in self.sizes if condition.codec == codec)


def key_of(model: str, index: int, crc: int, condition: Condition) -> Fields:
    """What an answer depends on: the model, the picture and its codec."""
    return {
        "scenes": VERSION,
        "model": model,
        "index": index,
        "crc": crc,
        "codec": condition.codec,
        "quality": condition.quality,
    }


def collect(records: Records, model: str, pictures: int | None = None) -> Measured:
    """What is known of a model: the conditions that were measured on all the same pictures.

    `pictures`: only the first so many indices.
    """
    most = sys.maxsize if pictures is None else pictures
    by_condition: dict[Condition, dict[int, Fields]] = {}
    for key, value in records:
        mine = (key.get("scenes"), key.get("model")) == (VERSION, model)
        if mine and key.get("index", most) < most:
            condition = Condition(key["codec"], float(key["quality"]))
            by_condition.setdefault(condition, {})[key["index"]] = value
    originals = by_condition.get(Condition(ORIGINAL), {})
    order = sorted(originals)
    asked = [originals[index]["families"] for index in order]
    answers = [originals[index]["answers"] for index in order]
    counts = [_by_family(f, np.ones(len(f))) for f in asked]
    measured = Measured(
        np.stack(counts) if order else np.zeros((0, len(FAMILIES))),
        blind_scores(asked, answers, guesses(records) if order else {}),
    )
    for condition, values in by_condition.items():
        if all(index in values for index in order):
            measured.sizes[condition] = np.array([values[i]["bytes"] for i in order], np.float64)
            for name, sums in (("right", measured.right), ("probable", measured.probable)):
                sums[condition] = np.stack(
                    [_by_family(f, values[i][name]) for i, f in zip(order, asked, strict=True)]
                )
    return measured


def guesses(records: Records) -> dict[str, str]:
    """The most frequent answer of each family and form of answer, in training: see `form_of`."""

    def count() -> dict[str, str]:
        counts: dict[str, Counter[str]] = {}
        for index in range(GUESSED_FROM):
            scene = render("train", index, Backgrounds(), (96, 96))
            for question in scene.questions:
                form = form_of(world.family(scene, question), question.answer)
                counts.setdefault(form, Counter())[question.answer] += 1
        return {form: answers.most_common(1)[0][0] for form, answers in counts.items()}

    return records.measure({"scenes": VERSION, "guesses": GUESSED_FROM}, count)


def form_of(family: str, answer: str) -> str:
    """The family of a question and which answers it offers, which are read off its words."""
    return next((f"{family}: {'/'.join(form)}" for form in FORMS if answer in form), family)


def blind_scores(
    families: Sequence[list[str]], answers: Sequence[list[str]], guessed: dict[str, str]
) -> dict[str, float]:
    """Share of right answers by family, and overall, for one who sees the question alone."""
    asked, right = Counter[str](), Counter[str]()
    for names, given in zip(families, answers, strict=True):
        for name, answer in zip(names, given, strict=True):
            for which in (name,) if name == "unknown" else (name, OVERALL):
                asked[which] += 1
                right[which] += guessed.get(form_of(name, answer)) == answer
    return {name: right[name] / max(1, asked[name]) for name in FAMILIES}


def _by_family(families: list[str], values: Any) -> Array:
    """Sums [families] of one value a question."""
    sums = np.zeros(len(FAMILIES))
    for family, value in zip(families, values, strict=True):
        sums[FAMILIES.index(family)] += value
        if family != "unknown":
            sums[0] += value
    return sums
