"""Composes a scene from its seed.

(version, split, index) --> seed --> which objects --> background --> places --> pixels, mask
                                                                         |
                                                     caption, questions <'
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenes import sprites
from scenes.backgrounds import Backgrounds, draw_background
from scenes.captions import describe
from scenes.questions import ask
from scenes.versions import PARTNERS, VERSION, World, world_of
from scenes.world import (
    CATEGORIES,
    COLOURS,
    KINDS,
    RGB,
    WORDS,
    Box,
    Character,
    Object,
    Scene,
)

Split = Literal["train", "train-signs", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "train-signs", "val", "test")
"""``train-signs`` holds nothing but signs: there a tower learns to read several times faster."""

THINGS: Final = tuple(kind for kind in KINDS if kind != "sign")
CATEGORY_SHARE: Final = 0.65
ROOMY: Final = 4
"""So many of a kind may be as large as any; more are smaller, so that they find room."""


@dataclass(frozen=True)
class _Plan:
    """An object before it has a place; `side` in pixels of a 256x256 picture, where it is known."""

    kind: str
    colour: str
    text: str = ""
    side: float | None = None


def generator(split: str, index: int, version: int = VERSION) -> np.random.Generator:
    """The random numbers of one scene: the same on every machine, disjoint between splits."""
    name = f"scenes/{version}/{split}/{index}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))


def render(
    split: Split,
    index: int,
    backgrounds: Backgrounds,
    size: tuple[int, int] = (256, 256),
    version: int = VERSION,
) -> Scene:
    """Scene ``index`` (any integer >= 0) of a split; ``size`` is (width, height) in pixels.

    A pure function of its arguments. Raises ValueError for an unknown split or version, a negative
    index or a side under 64 pixels.
    """
    world = world_of(version)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if index < 0:
        raise ValueError(f"index must not be negative, got {index}")
    if min(size) < 64:
        raise ValueError(f"both sides must have at least 64 pixels, got {size[0]}x{size[1]}")
    rng = generator(split, index, version)
    category = ""
    if rng.random() < CATEGORY_SHARE:
        category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
    plans = _plan_signs(rng, world) if split == "train-signs" else _plan(rng, world)
    picture = draw_background(rng, backgrounds, size, category)
    if world.clutter:
        sprites.clutter(picture, int(rng.integers(world.clutter + 1)), rng)
    return compose(rng, picture, category, plans, world)


def compose(
    rng: np.random.Generator,
    picture: Image.Image,
    category: str,
    plans: list[_Plan],
    world: World,
) -> Scene:
    """Places and draws planned objects on ``picture`` (changed in place) and asks about them."""
    mask = np.zeros((picture.height, picture.width), np.uint8)
    objects: list[Object] = []
    alone: list[int] = []  # pixels of each object before others were drawn over it
    for plan in plans:
        placed = _place(rng, plan, picture.size, objects, world)
        if placed is None:
            continue
        image, thing = placed
        left, top = int(thing.box[0]), int(thing.box[1])
        window = (slice(top, top + image.height), slice(left, left + image.width))
        covered = mask.copy()
        covered[window][np.asarray(image.getchannel("A")) > 127] = len(objects) + 1
        if world.least_visible and not _all_visible(covered, alone, world.least_visible):
            continue
        mask = covered
        alone.append(int((mask == len(objects) + 1).sum()))
        picture.paste(image, (left, top), image)
        objects.append(thing)
    things = tuple(objects)
    caption = describe(rng, things, category)
    questions = ask(rng, things, category, picture.size, world.partners)
    return Scene(np.array(picture), mask, things, category, caption, questions)


def _all_visible(mask: NDArray[Any], alone: list[int], least: float) -> bool:
    """Whether each of the objects still shows so large a share of its pixels."""
    shown = np.bincount(mask.ravel(), minlength=len(alone) + 1)[1 : len(alone) + 1]
    return bool((shown >= least * np.array(alone)).all())


def _plan(rng: np.random.Generator, world: World) -> list[_Plan]:
    """Which objects: some of one kind (evenly), then a sign or two, then others as they fit."""
    kinds = [THINGS[i] for i in rng.permutation(len(THINGS))]
    plans = _group(rng, kinds[0], int(rng.integers(1, world.most_of_a_kind + 1)), world)
    plans += [_sign(rng, world) for _ in range(int(rng.choice(3, p=(0.42, 0.48, 0.10))))]
    if world.partners and rng.random() < world.partners:
        kinds.remove(partner := PARTNERS[kinds[0]])
        kinds.insert(1, partner)
    others: list[_Plan] = []
    for kind in kinds[1 : 1 + int(rng.integers(0, 4))]:
        others += _group(rng, kind, int(rng.choice((1, 1, 2, 3))), world)
    return plans + others[: world.most_objects - len(plans)]


def _plan_signs(rng: np.random.Generator, world: World) -> list[_Plan]:
    """Four to seven signs, as they fit."""
    return [_sign(rng, world) for _ in range(int(rng.integers(4, 8)))]


def _sign(rng: np.random.Generator, world: World) -> _Plan:
    """A sign with a number of two digits or a word."""
    if rng.random() < 0.55:
        text = str(rng.integers(10, 100))
    else:
        text = WORDS[int(rng.integers(world.words))]
    return _Plan("sign", _colour(rng), text)


def _colour(rng: np.random.Generator) -> str:
    return COLOURS[int(rng.integers(len(COLOURS)))]


def _group(rng: np.random.Generator, kind: str, n: int, world: World) -> list[_Plan]:
    """``n`` objects of a kind, most often of one colour, else of two."""
    first, second = _colour(rng), _colour(rng)
    same = n if rng.random() < 0.45 else int(rng.integers(0, n + 1))
    sides = _sides(rng, n, world)
    return [_Plan(kind, first if i < same else second, side=sides[i]) for i in range(n)]


def _sides(rng: np.random.Generator, n: int, world: World) -> list[float | None]:
    """Long sides of a group: about the same, of any size between the world's ends."""
    if world.sides is None:
        return [None] * n
    low, high = world.sides
    high *= min(1.0, (ROOMY / n) ** 0.5)
    side = low * (high / low) ** rng.random()
    return [float(np.clip(side * rng.uniform(0.85, 1.18), *world.sides)) for _ in range(n)]


def _place(
    rng: np.random.Generator,
    plan: _Plan,
    size: tuple[int, int],
    others: list[Object],
    world: World,
) -> tuple[Image.Image, Object] | None:
    """Draws an object and finds room for it; smaller after some misses; None where none is left."""
    unit = min(size) / 256
    jitter = rng.integers(-10, 11, 3)
    r, g, b = (int(np.clip(c + j, 0, 255)) for c, j in zip(RGB[plan.colour], jitter, strict=True))
    limits = [
        (other.box, world.sign_overlap if "sign" in (plan.kind, other.kind) else world.overlap)
        for other in others
    ]
    for shrink in (1.0, 0.8, 0.62):
        characters: tuple[Character, ...] = ()
        if plan.kind == "sign":
            height = _print_height(rng, plan.text) * unit * max(shrink, 0.8)
            image, characters = sprites.sign(plan.text, (r, g, b), height, rng, world.lettering)
        else:
            side = _side(rng, plan, world, shrink)
            image = sprites.thing(plan.kind, (r, g, b), side * unit, rng)
        width, height_px = image.size
        if width > size[0] or height_px > size[1]:
            continue
        for _ in range(24):
            x = int(rng.integers(size[0] - width + 1))
            y = int(rng.integers(size[1] - height_px + 1))
            box = (float(x), float(y), float(x + width), float(y + height_px))
            if all(_overlap(box, other) <= limit for other, limit in limits):
                moved = tuple(Character(c.name, c.x + x, c.y + y, c.height) for c in characters)
                return image, Object(plan.kind, plan.colour, box, plan.text, moved)
    return None


def _side(rng: np.random.Generator, plan: _Plan, world: World, shrink: float) -> float:
    """Long side of an object, in pixels of a 256x256 picture, once it has to shrink."""
    if plan.side is not None and world.sides is not None:
        return max(plan.side * shrink, world.sides[0])
    low, high = sprites.SIZES[plan.kind]
    return max(low * float((high / low) ** rng.random()) * shrink, low * 0.9)


def _print_height(rng: np.random.Generator, text: str) -> float:
    """Height of capitals in pixels of a 256x256 picture: numbers large, words large or small."""
    if text.isdigit():
        return float(rng.uniform(26, 44))
    if rng.random() < 0.3:
        return float(rng.uniform(12, 18))
    return float(rng.uniform(20, 30) if len(text) < 5 else rng.uniform(20, 25))


def _overlap(a: Box, b: Box) -> float:
    """Common area over the area of the smaller box."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / smaller
