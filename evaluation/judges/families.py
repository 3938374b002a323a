"""What a question counts for: its family, all questions together, and a part of its family."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from scenes import COLOURS
from scenes.questions import FAMILIES as ASKED

OVERALL: Final = "overall"
"""All questions but those of the family `unknown`, which no picture answers."""

FAMILIES: Final = (OVERALL, *ASKED)
OF_A_KIND: Final = "count, 1 to 4 of a kind"
"""The part of `count` without zeros, without larger numbers and without counts of one colour."""

COLUMNS: Final = (*FAMILIES, OF_A_KIND)
"""All that is summed; a question is in several."""

FORMS: Final = (("yes", "no"), ("left", "right"), ("above", "below"))
"""Answers of which a question names or implies the two that are possible."""


@dataclass(frozen=True)
class Posed:
    """A question as it was written down. prompt: None where only its family was."""

    family: str
    answer: str
    prompt: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of COLUMNS that the question is in, its family first."""
        overall = () if self.family == "unknown" else (OVERALL,)
        if self.prompt is not None and is_of_a_kind(self.family, self.prompt, [self.answer]):
            return self.family, *overall, OF_A_KIND
        return self.family, *overall


def is_of_a_kind(family: str, prompt: str, answers: Collection[str]) -> bool:
    """Whether a question asks for 1 to 4 things of a kind, whatever their colours."""
    coloured = set(COLOURS) & set(re.findall(r"\w+", prompt.lower()))
    return family == "count" and not coloured and not set("1234").isdisjoint(answers)


def form_of(column: str, answer: str) -> str:
    """A column and which answers its question offers, which are read off its words."""
    return next((f"{column}: {'/'.join(form)}" for form in FORMS if answer in form), column)
