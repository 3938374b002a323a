"""Questions about a scene with exact answers, balanced so that guessing without looking is no use.

Each family draws its answer first where it can (yes or no, a number) and then looks for something
in the scene that has this answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np

from scenes.versions import PARTNERS
from scenes.world import CANNOT_TELL, COLOURS, KINDS, PLURALS, TASKS, Object, Question, Scene

T = TypeVar("T")
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

SIDES: Final = ("left of", "right of", "above", "below")

MARGIN: Final = 0.06
"""Distance from the middle lines, and half that between two centres, that counts as clear."""


def ask(
    rng: np.random.Generator,
    objects: Sequence[Object],
    category: str,
    size: tuple[int, int],
    partners: float = 0.0,
) -> tuple[Question, ...]:
    """All questions of a scene (about 12) in random order; ``size`` is (width, height).

    partners: how often the absent kind that is asked about is one that goes with what is there.
    """
    asker = _Asker(rng, objects, category, size, partners)
    questions = asker.all()
    return tuple(questions[i] for i in rng.permutation(len(questions)))


def phrases() -> list[str]:
    """All templates, for whoever collects their words."""
    groups = (COUNT, PRESENCE, COLOUR_ONE, COLOUR_MANY, NUMBER, PRINT, POSITION, RELATION, COMPARE)
    templates = [template for group in (*groups, SCENE, OUTSIDE, SIDES) for template in group]
    return [re.sub(r"\{\d?\}", " ", template) for template in (*templates, SIDE, HEIGHT)]


class _Name(NamedTuple):
    """How a question names an object: by its kind, with its colour where that is needed."""

    kind: str
    colour: str = ""

    def __str__(self) -> str:
        return f"{self.colour} {self.kind}" if self.colour else self.kind


class _Asker:
    """Holds what the families share: the generator and the counts of kinds and colours."""

    def __init__(
        self,
        rng: np.random.Generator,
        objects: Sequence[Object],
        category: str,
        size: tuple[int, int],
        partners: float,
    ) -> None:
        self.rng, self.objects, self.category, self.size = rng, objects, category, size
        self.partners = partners
        self.kinds = Counter(o.kind for o in objects)
        self.pairs = Counter((o.kind, o.colour) for o in objects)
        self.questions: list[Question] = []

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
        return self.questions

    # -- helpers

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def add(
        self,
        task: str,
        prompt: str,
        answer: str,
        kind: str = "",
        colour: str = "",
        direction: str = "",
    ) -> None:
        """Keeps a question; three in four end in a question mark."""
        prompt += "?" if self.chance(0.75) else ""
        self.questions.append(Question(task, prompt, answer, kind, colour, direction))

    def named(self) -> list[tuple[_Name, Object]]:
        """Objects that can be named without doubt: "car", or "red car" among other cars."""
        names = []
        for o in self.objects:
            alone_coloured = self.pairs[o.kind, o.colour] == 1
            if self.kinds[o.kind] == 1 and not self.chance(0.25):
                names.append((_Name(o.kind), o))
            elif alone_coloured:
                names.append((_Name(o.kind, o.colour), o))
        return names

    def absent(self) -> list[str]:
        return [kind for kind in THINGS if not self.kinds[kind]]

    # -- families

    def count(self) -> None:
        """The first kind drawn has each number with equal chance; none and others now and then."""
        if not self.objects:
            return
        first = self.objects[0].kind
        prompt = self.pick(COUNT).format(PLURALS[first])
        self.add("count", prompt, str(self.kinds[first]), first)
        if self.chance(0.2):
            template, kind = self.pick(COUNT), self.pick(self.absent())
            self.add("count", template.format(PLURALS[kind]), "0", kind)
        others = [k for k in self.kinds if k not in (first, "sign")]
        if others:
            kind = self.pick(others)
            # Ones are common among the others, so most of them are not asked about.
            if self.chance((0.0, 0.15, 0.5, 0.7)[min(self.kinds[kind], 3)]):
                prompt = self.pick(COUNT).format(PLURALS[kind])
                self.add("count", prompt, str(self.kinds[kind]), kind)

    def count_colour(self) -> None:
        """How many of one colour: the wanted answer is drawn first, rarer ones kept more often."""
        things = [o for o in self.objects if o.kind != "sign"]
        if not things:
            return
        kind = things[0].kind
        here = [colour for colour in COLOURS if self.pairs[kind, colour]]
        colour = self.pick(here)
        if self.chance(0.17):
            colour = self.pick([c for c in COLOURS if c not in here])
        n = self.pairs[kind, colour]
        if self.chance((0.7, 0.28, 0.55, 0.85, 1.0)[min(n, 4)]):
            prompt = self.pick(COUNT).format(f"{colour} {PLURALS[kind]}")
            self.add("count", prompt, str(n), kind, colour)

    def presence(self) -> None:
        """One kind that is there and one that is not; signs seldom, as they are common.

        Some versions draw partners together and ask for absent partners more often.
        """
        there = [kind for kind in self.kinds if kind != "sign"]
        for answer, kinds in (("yes", there), ("no", self.absent())):
            if kinds and self.chance(0.7):
                likely = [PARTNERS[kind] for kind in there if PARTNERS[kind] in kinds]
                if answer == "no" and self.partners and likely and self.chance(self.partners):
                    kinds = likely
                template, kind = self.pick(PRESENCE), self.pick(kinds)
                self.add("presence", template.format(f"a {kind}"), answer, kind)
        if self.chance(0.12):
            there_is = self.kinds["sign"] > 0
            if self.chance(0.72 if there_is else 1.0):
                prompt = self.pick(PRESENCE).format("a sign")
                self.add("presence", prompt, "yes" if there_is else "no", "sign")

    def presence_colour(self) -> None:
        """A colour of a kind: where the answer is no, the kind or the colour is often there."""
        things = [o for o in self.objects if o.kind != "sign"]
        if not things:
            return
        kind, colour = self.pick(sorted({(o.kind, o.colour) for o in things}))
        answer = "yes"
        if self.chance(0.5):
            answer = "no"
            if self.chance(0.5):
                colour = self.pick([c for c in COLOURS if not self.pairs[kind, c]])
            else:
                kind = self.pick([k for k in THINGS if not self.pairs[k, colour]])
        article = "an" if colour[0] in "aeiou" else "a"
        prompt = self.pick(PRESENCE).format(f"{article} {colour} {kind}")
        self.add("presence", prompt, answer, kind, colour)

    def colour(self) -> None:
        """Kinds all of one colour, up to two of them."""
        plain = [
            (kind, here[0])
            for kind in self.kinds
            if len(here := [c for c in COLOURS if self.pairs[kind, c]]) == 1
        ]
        for i in self.rng.permutation(len(plain))[:2]:
            kind, colour = plain[i]
            if self.kinds[kind] == 1:
                self.add("colour", self.pick(COLOUR_ONE).format(kind), colour, kind)
            else:
                self.add("colour", self.pick(COLOUR_MANY).format(PLURALS[kind]), colour, kind)

    def text(self) -> None:
        """What a sign says; with two signs, the one meant is named by its colour."""
        for o in self.objects:
            if not o.text or self.pairs["sign", o.colour] > 1:
                continue
            alone = self.kinds["sign"] == 1
            name = _Name("sign") if alone and self.chance(0.8) else _Name("sign", o.colour)
            if not o.text.isdigit():
                self.add("print", self.pick(PRINT).format(name), o.text, *name)
            else:
                self.add("number", self.pick(NUMBER).format(name), o.text, *name)

    def position(self) -> None:
        """The quarter of the picture that holds the centre of an object, where that is clear."""
        width, height = self.size
        clear = []
        for name, o in self.named():
            dx, dy = o.centre[0] / width - 0.5, o.centre[1] / height - 0.5
            if min(abs(dx), abs(dy)) > MARGIN:
                vertical, side = ("top", "bottom")[dy > 0], ("left", "right")[dx > 0]
                clear.append((name, f"{vertical} {side}"))
        for i in self.rng.permutation(len(clear))[:2]:
            name, corner = clear[i]
            self.add("position", self.pick(POSITION).format(name), corner, *name)

    def relation(self) -> None:
        """Left of, right of, above, below, between two objects that are clearly so."""
        width, height = self.size
        named = self.named()
        clear = []
        for a, first in named:
            for b, second in named:
                dx = (first.centre[0] - second.centre[0]) / width
                dy = (first.centre[1] - second.centre[1]) / height
                if abs(dx) > 2 * MARGIN:
                    clear.append((a, b, "left of" if dx < 0 else "right of"))
                if abs(dy) > 2 * MARGIN:
                    clear.append((a, b, "above" if dy < 0 else "below"))
        for i in self.rng.permutation(len(clear))[:2]:
            a, b, side = clear[i]
            across = side in ("left of", "right of")
            if self.chance(0.3):
                template = SIDE if across else HEIGHT
                self.add("relation", template.format(a, b), side.removesuffix(" of"), *a)
                continue
            asked = self.pick(("left of", "right of") if across else ("above", "below"))
            prompt = self.pick(RELATION).format(a, b, asked)
            self.add("relation", prompt, "yes" if asked == side else "no", a.kind, a.colour, asked)

    def compare(self) -> None:
        """More of one kind than of another; never asked of equal counts."""
        kinds = [kind for kind in self.kinds if kind != "sign"]
        unequal = [(a, b) for a in kinds for b in kinds if self.kinds[a] > self.kinds[b]]
        if not unequal:
            return
        more, less = self.pick(unequal)
        yes = self.chance(0.5)
        pair = (PLURALS[more], PLURALS[less]) if yes else (PLURALS[less], PLURALS[more])
        prompt = self.pick(COMPARE).format(*pair)
        self.add("compare", prompt, "yes" if yes else "no", more if yes else less)

    def scene(self) -> None:
        if self.category:
            self.add("scene", self.pick(SCENE), self.category)

    def unknown(self) -> None:
        """Questions that no picture of this world answers, and some about what is not there."""
        if self.chance(0.4):
            self.add("unknown", self.pick(OUTSIDE), CANNOT_TELL)
        if self.chance(0.06):
            absent = self.pick(self.absent())
            prompt = self.pick((*COLOUR_ONE, *POSITION)).format(absent)
            self.add("unknown", prompt, CANNOT_TELL, absent)
        if not self.kinds["sign"] and self.chance(0.05):
            prompt = self.pick((*NUMBER, *PRINT)).format("sign")
            self.add("unknown", prompt, CANNOT_TELL, "sign")


FAMILIES: Final = tuple(
    family
    for task in TASKS
    for family in (("large print", "small print") if task == "print" else (task,))
)
"""Tasks as reports list them."""

SMALL_PRINT: Final = 18.0
"""Capitals lower than this, in pixels of a 256x256 picture, are small: little more than a patch."""


def family(scene: Scene, question: Question) -> str:
    """The one of ``FAMILIES`` that a question of a scene belongs to: words by the size of print."""
    if question.task != "print":
        return question.task
    signs = [o for o in scene.objects if o.text == question.answer]
    asked = next((o for o in signs if o.colour == question.colour), signs[0])
    unit = min(scene.picture.shape[:2]) / 256
    return "small print" if asked.characters[0].height < SMALL_PRINT * unit else "large print"
