"""The procedural world: pictures of which everything is known. numpy and Pillow only.

A scene is a pure function of (version, split, index, backgrounds):

    from scenes import Backgrounds, render
    scene = render("test", 0, Backgrounds.builtin())
    scene.picture, scene.caption, scene.questions

`versions` says what each version draws.
"""

from scenes.backgrounds import Backgrounds
from scenes.questions import ask
from scenes.render import SPLITS, Split, render
from scenes.versions import VERSION, WORLDS
from scenes.world import (
    CANNOT_TELL,
    CATEGORIES,
    CHARACTERS,
    COLOURS,
    KINDS,
    TASKS,
    WORDS,
    Character,
    Object,
    Question,
    Scene,
)

__all__ = [
    "CANNOT_TELL",
    "CATEGORIES",
    "CHARACTERS",
    "COLOURS",
    "KINDS",
    "SPLITS",
    "TASKS",
    "VERSION",
    "WORDS",
    "WORLDS",
    "Backgrounds",
    "Character",
    "Object",
    "Question",
    "Scene",
    "Split",
    "ask",
    "render",
]
