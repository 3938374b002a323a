"""The vocabulary of the world and what a finished scene holds.

Everything here is plain data. Tuples are frozen: the index of a name in them is a class number
that trained weights depend on, so names may be appended in a new version, never reordered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

KINDS: Final = (
    "car",
    "person",
    "tree",
    "dog",
    "circle",
    "square",
    "triangle",
    "star",
    "sign",
)
PLURALS: Final = {kind: "people" if kind == "person" else kind + "s" for kind in KINDS}

COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
RGB: Final[dict[str, tuple[int, int, int]]] = {
    "red": (212, 32, 36),
    "orange": (246, 130, 22),
    "yellow": (246, 218, 40),
    "green": (36, 158, 58),
    "blue": (38, 92, 218),
    "purple": (142, 56, 188),
    "white": (243, 243, 243),
    "black": (26, 26, 30),
}

CHARACTERS: Final = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
WORDS: Final = (
    *("bus", "go", "zoo", "bar", "east", "exit", "fire", "fish"),
    *("gate", "milk", "open", "park", "pull", "push", "sale", "shop"),
    *("slow", "stop", "taxi", "west", "book", "cafe", "hotel", "north"),
    *("bank", "bench", "bread", "cold", "dance", "door", "free", "grill"),
    *("help", "hill", "home", "jazz", "kiosk", "lake", "loft", "music"),
    *("noon", "phone", "pizza", "quiet", "river", "south", "water", "yoga"),
)

CATEGORIES: Final = ("street", "field", "beach", "indoor", "night")
"""Kinds of scene that leave something to see in the picture (a road, a lawn, ...)."""

TASKS: Final = (
    "count",
    "presence",
    "colour",
    "number",
    "print",
    "position",
    "relation",
    "compare",
    "scene",
    "unknown",
)
CANNOT_TELL: Final = "i cannot tell"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Character:
    """One printed character: its name (one of ``CHARACTERS``), centre and height in pixels."""

    name: str
    x: float
    y: float
    height: float


@dataclass(frozen=True)
class Object:
    """One drawn object. ``text`` is lowercase and empty unless the object is a sign."""

    kind: str
    colour: str
    box: Box
    text: str = ""
    characters: tuple[Character, ...] = ()

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, x then y, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Question:
    """A question about one scene, its exact answer and the task family it belongs to.

    kind, colour: of what it names, of two things the first; "" where it names none. direction: the
    side of a relation that it asks about, one of ``questions.SIDES``.
    """

    task: str
    prompt: str
    answer: str
    kind: str = ""
    colour: str = ""
    direction: str = ""


@dataclass(frozen=True)
class Scene:
    """A picture with everything that is true about it.

    picture: u8 ``[H, W, 3]``, sRGB.
    mask: u8 ``[H, W]``, 0 where the background shows, else 1 + index of the object that shows.
    category: one of ``CATEGORIES``, or "" where the background is of no particular kind.
    """

    picture: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    objects: tuple[Object, ...]
    category: str
    caption: str
    questions: tuple[Question, ...] = field(default=())

    def patch_labels(self, patch: int = 16) -> dict[str, npt.NDArray[np.int64]]:
        """Dense labels on the patch grid, each i64 ``[H // patch, W // patch]``; 0 means none.

        kind, colour: 1 + index of the kind or colour of the object with the most visible pixels
        in the patch, where it shows in at least a fifth of it.
        centre: 1 + index of the kind whose centre lies in the patch.
        character: 1 + index of the leftmost character whose centre lies in the patch.
        place: which character of its text that one is, from 1.
        second: 1 + index of the next character of the same text, where its centre lies in the
        patch too.
        """
        rows, cols = self.mask.shape[0] // patch, self.mask.shape[1] // patch
        labels = {
            name: np.zeros((rows, cols), np.int64)
            for name in ("kind", "colour", "centre", "character", "place", "second")
        }
        if not self.objects:
            return labels
        blocks = self.mask[: rows * patch, : cols * patch].reshape(rows, patch, cols, patch)
        cover = np.stack([(blocks == i + 1).sum((1, 3)) for i in range(len(self.objects))])
        owner = cover.argmax(0)
        seen = cover.max(0) * 5 >= patch * patch
        kinds = np.array([KINDS.index(o.kind) + 1 for o in self.objects])
        colours = np.array([COLOURS.index(o.colour) + 1 for o in self.objects])
        labels["kind"][seen] = kinds[owner][seen]
        labels["colour"][seen] = colours[owner][seen]
        for o, kind in zip(self.objects, kinds, strict=True):
            x, y = o.centre
            row, col = int(y // patch), int(x // patch)
            if 0 <= row < rows and 0 <= col < cols:
                labels["centre"][row, col] = kind
            for place, c in enumerate(o.characters, start=1):
                row, col = int(c.y // patch), int(c.x // patch)
                if not (0 <= row < rows and 0 <= col < cols):
                    continue
                number = CHARACTERS.index(c.name) + 1
                if not labels["character"][row, col]:
                    labels["character"][row, col] = number
                    labels["place"][row, col] = place
                elif labels["place"][row, col] == place - 1:
                    labels["second"][row, col] = number
        return labels

    def patch_shares(self, patch: int = 16) -> npt.NDArray[np.float32]:
        """How much of each object shows on each patch, f32 ``[objects, H // patch, W // patch]``.

        Shares of an object's visible pixels, so those of some objects sum to their number.
        """
        rows, cols = self.mask.shape[0] // patch, self.mask.shape[1] // patch
        blocks = self.mask[: rows * patch, : cols * patch].reshape(rows, patch, cols, patch)
        shares = np.zeros((len(self.objects), rows, cols), np.float32)
        for i, share in enumerate(shares):
            visible = (blocks == i + 1).sum((1, 3))
            share[:] = visible / max(1, visible.sum())
        return shares
