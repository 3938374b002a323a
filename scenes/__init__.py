"""The procedural world: pictures of which everything is known. numpy and Pillow only.

A scene is a pure function of (version, split, index, backgrounds):

    from scenes import Backgrounds, render
    scene = render("test", 0, Backgrounds.builtin())
    scene.picture, scene.caption, scene.questions
"""

from scenes.backgrounds import Backgrounds
from scenes.questions import ask
from scenes.render import SPLITS, Split, render
from scenes.world import (
    CANNOT_TELL,
    CATEGORIES,
    CHARACTERS,
    COLOURS,
    KINDS,
    TASKS,
    VERSION,
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
    "Backgrounds",
    "Character",
    "Object",
    "Question",
    "Scene",
    "Split",
    "ask",
    "render",
]
