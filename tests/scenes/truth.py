"""A second, independent answerer: it reads a question's words and looks at the objects alone."""

from __future__ import annotations

import re

from scenes import COLOURS, KINDS, Object, Question, Scene
from scenes.world import PLURALS

SINGULARS = {plural: kind for kind, plural in PLURALS.items()}
_COLOUR = "|".join(COLOURS)
_KIND = "|".join([*PLURALS.values(), *KINDS])
_THING = re.compile(rf"\b(?:({_COLOUR}) )?({_KIND})\b")


def things(prompt: str) -> list[tuple[str, str]]:
    """(colour or "", kind) of everything that a prompt names, in order."""
    return [(c, SINGULARS.get(k, k)) for c, k in _THING.findall(prompt)]


def matching(scene: Scene, colour: str, kind: str) -> list[Object]:
    return [o for o in scene.objects if o.kind == kind and colour in ("", o.colour)]


def right_answer(scene: Scene, question: Question) -> str:
    """The answer that the objects give. Raises ValueError where what is meant is not one thing."""
    named = things(question.prompt)
    matches = [matching(scene, *name) for name in named]
    if question.task == "count":
        return str(len(matches[0]))
    if question.task == "presence":
        return "yes" if matches[0] else "no"
    if question.task == "colour":
        (colour,) = {o.colour for o in matches[0]}
        return colour
    if question.task in ("number", "print"):
        (sign,) = matches[0]
        return sign.text
    if question.task == "compare":
        return "yes" if len(matches[0]) > len(matches[1]) else "no"
    if question.task == "scene":
        return scene.category
    if question.task == "position":
        (thing,) = matches[0]
        return _corner(scene, thing)
    if question.task == "relation":
        (first,), (second,) = matches
        return _relation(question.prompt, first, second)
    raise ValueError(f"no rule for {question}")


def _corner(scene: Scene, thing: Object) -> str:
    height, width = scene.mask.shape
    x, y = thing.centre
    return f"{'top' if 2 * y < height else 'bottom'} {'left' if 2 * x < width else 'right'}"


def _relation(prompt: str, first: Object, second: Object) -> str:
    across = "left" if first.centre[0] < second.centre[0] else "right"
    down = "above" if first.centre[1] < second.centre[1] else "below"
    if "left or right" in prompt:
        return across
    if "above or below" in prompt:
        return down
    (asked,) = re.findall("left|right|above|below", prompt)
    return "yes" if asked in (across, down) else "no"
