"""Questions about a scene with exact answers, balanced so that guessing without looking is no use.

Each family draws its answer first where it can (yes or no, a number) and then looks for something
in the scene that has this answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from scenes.world import CANNOT_TELL, COLOURS, KINDS, PLURALS, Object, Question

THINGS: Final = tuple(kind for kind in KINDS if kind != "sign")

COUNT: Final = (
    "how many {} are there",
    "how many {} are in the picture",
    "how many {}",
    "how many {} do you see",
    "count the {}",
    "what is the number of {}",
)
PRESENCE: Final = (
    "is there {}",
    "is there {} in the picture",
    "do you see {}",
    "can you see {} here",
    "does the picture show {}",
)
COLOUR_ONE: Final = (
    "what colour is the {}",
    "which colour is the {}",
    "what color is the {}",
    "the {} has what colour",
)
COLOUR_MANY: Final = (
    "what colour are the {}",
    "which colour are the {}",
    "what color are the {}",
)
NUMBER: Final = (
    "what number is on the {}",
    "which number is on the {}",
    "what is the number on the {}",
    "read the number on the {}",
)
PRINT: Final = (
    "what does the {} say",
    "what is written on the {}",
    "read the {}",
    "which word is on the {}",
    "what word is on the {}",
)
POSITION: Final = (
    "where is the {}",
    "in which corner is the {}",
    "where in the picture is the {}",
    "which part of the picture is the {} in",
)
RELATION: Final = ("is the {0} {2} the {1}", "is the {0} to be found {2} the {1}")
SIDE: Final = "is the {0} left or right of the {1}"
HEIGHT: Final = "is the {0} above or below the {1}"
COMPARE: Final = (
    "are there more {} than {}",
    "do you see more {} than {}",
    "is the number of {} larger than that of {}",
)
SCENE: Final = (
    "what kind of scene is this",
    "what kind of place is this",
    "where was this picture taken",
    "what scene is shown",
)
OUTSIDE: Final = (
    "who painted this",
    "what is the weather tomorrow",
    "what is the name of the person",
    "what time is it",
    "how old is the person",
    "who took this picture",
    "what is the price of the car",
    "in which city is this",
    "what music is playing",
    "what is the capital of france",
    "how much does the dog weigh",
    "what does it smell like",
    "why is the sky blue",
    "what happened yesterday",
    "tell me a story",
    "who is the president",
)

MARGIN: Final = 0.06
"""Distance from the middle lines, and half that between two centres, that counts as clear."""


def ask(
    rng: np.random.Generator, objects: Sequence[Object], category: str, size: tuple[int, int]
) -> tuple[Question, ...]:
    """All questions of a scene (about 12) in random order; ``size`` is (width, height)."""
    asker = _Asker(rng, objects, category, size)
    questions = asker.all()
    return tuple(questions[i] for i in rng.permutation(len(questions)))


class _Asker:
    """Holds what the families share: the generator and the counts of kinds and colours."""

    def __init__(
        self,
        rng: np.random.Generator,
        objects: Sequence[Object],
        category: str,
        size: tuple[int, int],
    ) -> None:
        self.rng, self.objects, self.category, self.size = rng, objects, category, size
        self.kinds = Counter(o.kind for o in objects)
        self.pairs = Counter((o.kind, o.colour) for o in objects)
        self.found: list[Question] = []

    def all(self) -> list[Question]:
        families: tuple[Callable[[], None], ...] = (
            self.count,
            self.count_colour,
            self.presence,
            self.presence_colour,
            self.colour,
            self.text,
            self.position,
            self.relation,
            self.compare,
            self.scene,
            self.unknown,
        )
        for family in families:
            family()
        return self.found

    # -- helpers

    def pick[T](self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def add(self, task: str, prompt: str, answer: str) -> None:
        """Keeps a question; three in four end in a question mark."""
        self.found.append(Question(task, prompt + ("?" if self.chance(0.75) else ""), answer))

    def names(self) -> list[tuple[str, Object]]:
        """Objects that can be named without doubt: "car", or "red car" among other cars."""
        named = []
        for o in self.objects:
            alone, alone_coloured = self.kinds[o.kind] == 1, self.pairs[o.kind, o.colour] == 1
            if alone and not (alone_coloured and self.chance(0.25)):
                named.append((o.kind, o))
            elif alone_coloured:
                named.append((f"{o.colour} {o.kind}", o))
        return named
