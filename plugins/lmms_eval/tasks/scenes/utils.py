"""Scenes as a task of lmms-eval: which questions, their pictures, and whether an answer is right.

`scenes.jsonl` says which scenes: a split, the first number and how many.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from typing import Any

from PIL import Image

from scenes import Backgrounds, render


def questions(ranges: Any) -> Any:
    """The questions of the scenes, as a `datasets.Dataset`."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {"split": row["split"], "index": index, "question": q.prompt, "answer": q.answer}
            for row in ranges
            for index in range(row["start"], row["start"] + row["count"])
            for q in _scene(row["split"], index).questions
        ]
    )


def visual(doc: dict[str, Any]) -> list[Image.Image]:
    """The picture of a question."""
    return [Image.fromarray(_scene(doc["split"], doc["index"]).picture)]


def graded(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the answer is the right one, whatever its case and punctuation."""
    return {"accuracy": float(_words(results[0]) == _words(doc["answer"]))}


@functools.lru_cache(maxsize=8)
def _scene(split: Any, index: int) -> Any:
    return render(split, index, _backgrounds())


@functools.cache
def _backgrounds() -> Backgrounds:
    return Backgrounds.builtin()


def _words(text: str) -> list[str]:
    return text.lower().translate(str.maketrans("", "", string.punctuation)).split()
