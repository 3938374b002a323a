"""Questions about a clip with exact answers, and how a model that sees one picture answers them.

A probe is a question of Scenes about one frame. `compose` makes the answer about the clip from
those to its probes, by the task alone: a model of single pictures can be measured so, and one that
sees all frames is asked the question itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from scenes.motion.moment import Moment
from scenes.questions import MARGIN, THINGS
from scenes.world import CANNOT_TELL, PLURALS, Object

MOTION_TASKS: Final = ("direction", "arrival", "leaving", "order", "last count", "change")


class Probe(NamedTuple):
    """A question about a frame, and its right answer."""

    frame: int
    prompt: str
    answer: str


@dataclass(frozen=True)
class MotionQuestion:
    """A question about a clip, its exact answer and its task, one of ``MOTION_TASKS``."""

    task: str
    prompt: str
    answer: str
    probes: tuple[Probe, ...]
    names: tuple[str, ...] = ()

    def compose(self, answers: Sequence[str]) -> str:
        """The answer that follows from those to the probes, in their order."""
        said = [answer.strip().lower().rstrip(".") for answer in answers]
        if self.task == "last count":
            return said[0]
        if self.task == "arrival":
            return "yes" if said == ["no", "yes"] else "no"
        if self.task == "leaving":
            return "yes" if said == ["yes", "no"] else "no"
        if self.task == "direction":
            return _direction(*said)
        if self.task == "change":
            return _change(*said)
        half = len(said) // 2
        first, second = (
            part.index("yes") if "yes" in part else half for part in (said[:half], said[half:])
        )
        return CANNOT_TELL if first == second else self.names[first > second]


def ask_of_motion(
    rng: np.random.Generator, moments: Sequence[Moment], size: tuple[int, int]
) -> tuple[MotionQuestion, ...]:
    """All questions of a clip (about five), of those that have one right answer."""
    asker = _Asker(rng, moments, size)
    questions = [
        *asker.directions(),
        *asker.comings("arrival", "does a {} come into the picture?", coming=True),
        *asker.comings("leaving", "does a {} leave the picture?", coming=False),
        *asker.orders(),
        *asker.counts(),
    ]
    return tuple(questions[i] for i in rng.permutation(len(questions)))


def _direction(start: str, end: str) -> str:
    """left, right, up or down, from two corners such as "top left"; where one word changes."""
    before, after = start.split(), end.split()
    if len(before) != 2 or len(after) != 2 or (before[0] == after[0]) == (before[1] == after[1]):
        return CANNOT_TELL
    return after[1] if before[0] == after[0] else {"top": "up", "bottom": "down"}.get(after[0], "")


def _change(start: str, end: str) -> str:
    if not (start.isdigit() and end.isdigit()):
        return CANNOT_TELL
    return ("fewer", "as many", "more")[int(np.sign(int(end) - int(start))) + 1]


class _Asker:
    """Holds the generator, and of each kind how many there are in each frame, -1 where unclear."""

    def __init__(
        self, rng: np.random.Generator, moments: Sequence[Moment], size: tuple[int, int]
    ) -> None:
        self.rng, self.moments, self.size = rng, moments, size
        self.last = len(moments) - 1
        self.counts_of = {
            kind: [
                -1 if kind in each.unclear else sum(o.kind == kind for o in each.objects)
                for each in moments
            ]
            for kind in THINGS
        }
        self.clear = [
            kind for kind, counts in self.counts_of.items() if min(counts[0], counts[-1]) >= 0
        ]

    def directions(self) -> list[MotionQuestion]:
        """Of things that are the only one of their kind, from one clear corner to the next."""
        questions = []
        for kind in THINGS:
            ends = [[o for o in self.moments[n].objects if o.kind == kind] for n in (0, self.last)]
            if kind not in self.clear or any(len(end) != 1 for end in ends):
                continue
            corners = [self._corner(end[0]) for end in ends]
            answer = _direction(*corners)
            if answer == CANNOT_TELL:
                continue
            prompt = f"where is the {kind}?"
            probes = (Probe(0, prompt, corners[0]), Probe(self.last, prompt, corners[1]))
            questions.append(
                MotionQuestion("direction", f"which way does the {kind} move?", answer, probes)
            )
        return questions

    def comings(self, task: str, template: str, coming: bool) -> list[MotionQuestion]:
        """Kinds that come, or go, and one that does not."""
        yes: list[str] = []
        no: list[str] = []
        for kind in self.clear:
            start, end = (self.counts_of[kind][n] > 0 for n in (0, -1))
            (yes if (start, end) == (not coming, coming) else no).append(kind)
        no = [no[i] for i in self.rng.permutation(len(no))[:1]]
        # The two answers are to be about equally frequent.
        if not yes and self.rng.random() < 0.75:
            return []
        questions = []
        for kind, answer in [*((k, "yes") for k in yes), *((k, "no") for k in no)]:
            probes = tuple(self._presence(kind, n) for n in (0, self.last))
            questions.append(MotionQuestion(task, template.format(kind), answer, probes))
        return questions

    def orders(self) -> list[MotionQuestion]:
        """Which of two kinds comes first, where both come in different frames."""
        first = {
            kind: next(n for n, count in enumerate(counts) if count)
            for kind, counts in self.counts_of.items()
            if counts[0] == 0 and max(counts) > 0
        }
        kinds = sorted(first)
        if len(kinds) != 2 or first[kinds[0]] == first[kinds[1]]:
            return []
        kind_a, other = (kinds[i] for i in self.rng.permutation(2))
        probes = tuple(
            self._presence(kind, n) for kind in (kind_a, other) for n in range(self.last + 1)
        )
        prompt = f"which comes first, the {kind_a} or the {other}?"
        answer = min(kinds, key=first.__getitem__)
        return [MotionQuestion("order", prompt, answer, probes, (kind_a, other))]

    def counts(self) -> list[MotionQuestion]:
        """How many at the end, and whether they are more than at the start."""
        there = [kind for kind in self.clear if max(self.counts_of[kind]) > 0]
        questions = []
        for kind in (there[i] for i in self.rng.permutation(len(there))[:2]):
            many = PLURALS[kind]
            start, end = (str(self.counts_of[kind][n]) for n in (0, -1))
            prompt = f"how many {many} are there?"
            probes = (Probe(0, prompt, start), Probe(self.last, prompt, end))
            last = MotionQuestion(
                "last count", f"how many {many} are there at the end?", end, probes[1:]
            )
            questions.append(last)
            # Most kinds stay as many: these are asked about less often.
            if start == end and self.rng.random() < 0.6:
                continue
            asked = f"are there more, fewer or as many {many} at the end as at the start?"
            questions.append(MotionQuestion("change", asked, _change(start, end), probes))
        return questions

    def _presence(self, kind: str, frame: int) -> Probe:
        there = self.counts_of[kind][frame] != 0
        return Probe(frame, f"is there a {kind}?", "yes" if there else "no")

    def _corner(self, thing: Object) -> str:
        """As Scenes' questions of position say it; empty where that is unclear."""
        dx, dy = (at / side - 0.5 for at, side in zip(thing.centre, self.size, strict=True))
        if min(abs(dx), abs(dy)) <= MARGIN:
            return ""
        return f"{('top', 'bottom')[dy > 0]} {('left', 'right')[dx > 0]}"
