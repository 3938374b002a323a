"""How the usual sets of questions count an answer: a share of 1."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from evaluation.judges.dataset import is_right

VQA_ENOUGH: Final = 3  # people of ten who said it


def exact(said: str, answers: Sequence[str]) -> float:
    """1 for one of the answers; yes and no by the first word (POPE, MME, GQA)."""
    return float(is_right(said, answers))


def choice(said: str, answers: Sequence[str]) -> float:
    """1 for the letter of the right option (SEEDBench, MMBench).

    "B", "(B)", "b." and "B: a dog" are one answer.
    """
    letter = re.match(r"\W*([A-Za-z])(?![A-Za-z'])", said)
    return float(letter is not None and letter[1].upper() in {answer.upper() for answer in answers})


def vqa(said: str, answers: Sequence[str]) -> float:
    """A third for each of the people who said so, 1 at most (VQAv2, TextVQA); ten answers."""
    return min(1.0, sum(is_right(said, (answer,)) for answer in answers) / VQA_ENOUGH)


METRICS: Final[dict[str, Callable[[str, Sequence[str]], float]]] = {
    "exact": exact,
    "choice": choice,
    "vqa": vqa,
}
