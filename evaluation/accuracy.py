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
from scenes import TASKS

ORIGINAL: Final = "uncompressed"
VIEWS: Final = {
    "base": "base codec",
    "guidance": "+ guidance",
    "adapter": "+ adapter",
    "full": "+ guidance + adapter",
}
OVERALL: Final = "overall"
"""All questions but those of the family `unknown`, which no picture answers."""

FAMILIES: Final = (OVERALL, *TASKS)
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
    """Sizes [P] in bytes and right answers [P, families] by condition; questions [P, families]."""

    questions: Array
    blind: dict[str, float]
    sizes: dict[Condition, Array] = field(default_factory=dict)
    right: dict[Condition, Array] = field(default_factory=dict)

    def accuracy(self, condition: Condition, weights: Array) -> Array:
        """Share of right answers [R, families] for pictures drawn `weights` [R, P] times."""
        asked = weights @ self.questions
        hits = weights @ self.right[condition]
        return np.divide(hits, asked, out=np.full(asked.shape, np.nan), where=asked > 0)

    def size(self, condition: Condition, weights: Array) -> Array:
        """Mean bytes [R]."""
        found: Array = weights @ self.sizes[condition] / weights.sum(axis=1)
        return found

    def best_view(self) -> str:
        """The most that the bundle can do: it may have no adapter for its tower."""
        return "full" if self.of("full") else "guidance"

    def of(self, codec: str) -> list[Condition]:
        """The conditions of a codec, smallest quality first."""
        return sorted(condition for condition in self.sizes if condition.codec == codec)


def key_of(model: str, index: int, crc: int, condition: Condition) -> Fields:
    """What an answer depends on: the model, the picture and its codec."""
    return {
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
        if key.get("model") == model and key.get("index", most) < most:
            condition = Condition(key["codec"], float(key["quality"]))
            by_condition.setdefault(condition, {})[key["index"]] = value
    originals = by_condition.get(Condition(ORIGINAL), {})
    order = sorted(originals)
    tasks = [originals[index]["tasks"] for index in order]
    measured = Measured(
        np.stack([_by_family(t, np.ones(len(t))) for t in tasks]) if order else np.zeros((0, 11)),
        blind_scores(tasks, [originals[index]["answers"] for index in order]),
    )
    for condition, values in by_condition.items():
        if all(index in values for index in order):
            measured.sizes[condition] = np.array([values[i]["bytes"] for i in order], np.float64)
            measured.right[condition] = np.stack(
                [_by_family(t, values[i]["right"]) for i, t in zip(order, tasks, strict=True)]
            )
    return measured


def blind_scores(tasks: Sequence[list[str]], answers: Sequence[list[str]]) -> dict[str, float]:
    """Share of right answers by family for one who sees the question alone, and overall.

    Each family's most frequent answer, where a question asks for yes or no the more frequent one.
    """
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {
        t: (Counter(), Counter()) for t in TASKS
    }
    for asked, given in zip(tasks, answers, strict=True):
        for task, answer in zip(asked, given, strict=True):
            counts[task][answer in ("yes", "no")][answer] += 1
    best = {t: sum(max(c.values(), default=0) for c in counts[t]) for t in TASKS}
    total = {t: sum(sum(c.values()) for c in counts[t]) for t in TASKS}
    seen = [task for task in TASKS if task != "unknown"]
    overall = sum(best[t] for t in seen) / max(1, sum(total[t] for t in seen))
    return {OVERALL: overall, **{t: best[t] / max(1, total[t]) for t in TASKS}}


def _by_family(tasks: list[str], values: Any) -> Array:
    """Sums [families] of one value a question."""
    sums = np.zeros(len(FAMILIES))
    for task, value in zip(tasks, values, strict=True):
        sums[FAMILIES.index(task)] += value
        if task != "unknown":
            sums[0] += value
    return sums
