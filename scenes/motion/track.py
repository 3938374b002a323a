"""Composes a clip from its seed: things that stay, one or two that move, a camera.

(version, split, index) --> seed --> background --> things with a place --> movers with a path
                                                                                |
                          frames, what shows in each, questions <-- camera, noise '
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenes import sprites
from scenes.backgrounds import Backgrounds, draw_background
from scenes.motion.moment import Moment
from scenes.motion.questions import MotionQuestion, ask_of_motion
from scenes.render import THINGS, Split, generator
from scenes.world import CATEGORIES, COLOURS, RGB, Box, Object

MOTION_VERSION: Final = 1
WHOLE: Final = 0.75
"""Share of its pixels from which a thing is there; up to `GONE` it is not; else unclear."""
GONE: Final = 0.02
PAN: Final = 0.35  # of the picture's width, that a camera moves at most
STILL_SHARE: Final = 0.7
FAR: Final = 0.45  # of the picture's side, that a thing moves which crosses it
NOISES: Final = (0.0, 1.0, 2.0)  # deviation of a camera's noise, of 255
TRIES: Final = 60

Way = Literal["crosses", "arrives", "leaves"]
WAYS: Final[tuple[Way, ...]] = ("crosses", "arrives", "leaves")
Point = tuple[float, float]


@dataclass(frozen=True)
class Track:
    """A clip with everything that is true about it.

    pictures: u8 [T, H, W, 3], sRGB. moments: of each frame. still: whether the camera is.
    """

    pictures: NDArray[np.uint8]
    moments: tuple[Moment, ...]
    still: bool
    questions: tuple[MotionQuestion, ...]


class _Thing(NamedTuple):
    """A drawing and its way: its left top corner at the start and at the end, and when it moves."""

    kind: str
    colour: str
    image: Image.Image
    start: Point
    end: Point
    begins: float = 0.0
    ends: float = 1.0

    def place(self, now: float) -> Point:
        """Its left top corner; now is 0 at the first frame, 1 at the last."""
        share = min(max((now - self.begins) / (self.ends - self.begins), 0.0), 1.0)
        (x0, y0), (x1, y1) = self.start, self.end
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def render_track(
    split: Split,
    index: int,
    backgrounds: Backgrounds,
    size: tuple[int, int] = (256, 256),
    frames: int = 8,
) -> Track:
    """Clip ``index`` (any integer >= 0) of a split; ``size`` is (width, height) in pixels.

    A pure function of its arguments; clips that differ in `frames` alone show the same, at other
    times. Raises ValueError for fewer than two frames, a negative index or a side under 64 pixels.
    """
    if frames < 2 or index < 0 or min(size) < 64:
        raise ValueError(f"no clip {index} has {frames} frames of {size[0]}x{size[1]}")
    rng = generator(f"motion-{MOTION_VERSION}-{split}", index)
    still = bool(rng.random() < STILL_SHARE)
    pan = 0 if still else round(size[0] * rng.uniform(0.1, PAN)) * int(rng.choice((-1, 1)))
    category = ""
    if rng.random() < 0.5:
        category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
    wide = (size[0] + abs(pan), size[1])
    background = draw_background(rng, backgrounds, wide, category)
    things = _things(rng, size)
    noise, seed = float(rng.choice(NOISES)), int(rng.integers(1 << 31))
    questions = np.random.default_rng(int(rng.integers(1 << 31)))
    grain = np.random.default_rng(seed)
    pictures, moments = [], []
    for now in np.linspace(0.0, 1.0, frames):
        left = round(pan * now) if pan >= 0 else round(-pan * (1 - now))
        window = background.crop((left, 0, left + size[0], size[1]))
        # Things stand where they are in the picture: the camera follows them over its background.
        moments.append(_draw(window, things, float(now)))
        picture = np.asarray(window).astype(np.float32)
        picture += noise * grain.standard_normal(picture.shape, np.float32)
        pictures.append(picture.round().clip(0, 255).astype(np.uint8))
    asked = ask_of_motion(questions, moments, size)
    return Track(np.stack(pictures), tuple(moments), still, asked)


def _draw(picture: Image.Image, things: list[_Thing], now: float) -> Moment:
    """Draws the things of a moment in their order; returns what shows of them."""
    width, height = picture.size
    mask = np.zeros((height, width), np.uint8)
    alone: list[int] = []
    boxes: list[Box] = []
    for number, thing in enumerate(things, start=1):
        left, top = (round(at) for at in thing.place(now))
        solid = np.asarray(thing.image.getchannel("A")) > 127
        alone.append(int(solid.sum()))
        rows = slice(max(top, 0), min(top + solid.shape[0], height))
        columns = slice(max(left, 0), min(left + solid.shape[1], width))
        right, bottom = left + solid.shape[1], top + solid.shape[0]
        boxes.append((float(left), float(top), float(right), float(bottom)))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        seen = solid[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        mask[rows, columns][seen] = number
        picture.paste(thing.image, (left, top), thing.image)
    shown = np.bincount(mask.ravel(), minlength=len(things) + 1)[1:]
    objects, unclear = [], set()
    for thing, box, whole, visible in zip(things, boxes, alone, shown.tolist(), strict=True):
        if visible >= WHOLE * whole:
            objects.append(Object(thing.kind, thing.colour, box))
        elif visible > GONE * whole:
            unclear.add(thing.kind)
    return Moment(tuple(objects), frozenset(unclear))


def _things(rng: np.random.Generator, size: tuple[int, int]) -> list[_Thing]:
    """One to four that stay, of one or two kinds; then one or two that move."""
    kinds = [THINGS[i] for i in rng.permutation(len(THINGS))]
    things: list[_Thing] = []
    for kind in kinds[: int(rng.integers(1, 3))]:
        colour = _colour(rng)
        for _ in range(int(rng.integers(1, 4))):
            image = _image(rng, kind, colour, size)
            place = _free(rng, image, size, things)
            if place is not None:
                things.append(_Thing(kind, colour, image, place, place))
    both_arrive = rng.random() < 0.25
    movers = 2 if both_arrive else int(rng.integers(1, 3))
    for number in range(movers):
        # One of a kind of its own can be named; one of a kind that is there changes its count.
        kind = kinds[2 + number] if both_arrive or rng.random() < 0.75 else kinds[0]
        way = "arrives" if both_arrive else WAYS[int(rng.choice(len(WAYS), p=(0.5, 0.25, 0.25)))]
        mover = _mover(rng, kind, way, size, things)
        if mover is not None:
            things.append(mover)
    return things


def _mover(
    rng: np.random.Generator,
    kind: str,
    way: Way,
    size: tuple[int, int],
    things: list[_Thing],
) -> _Thing | None:
    """A thing with a way: its ends lie clear of all others, for there it is asked about."""
    colour = _colour(rng)
    image = _image(rng, kind, colour, size)
    begins = float(rng.uniform(0.0, 0.4))
    ends = float(rng.uniform(begins + 0.3, 0.95))
    for _ in range(TRIES):
        start, end = _free(rng, image, size, things), _free(rng, image, size, things)
        if start is None or end is None:
            return None
        if way == "crosses":
            along = [abs(a - b) / side for a, b, side in zip(start, end, size, strict=True)]
            if max(along) < FAR or min(along) > max(along) / 3:
                continue
        elif way == "arrives":
            start = _outside(rng, end, image, size)
        else:
            end = _outside(rng, start, image, size)
        return _Thing(kind, colour, image, start, end, begins, ends)
    return None


def _outside(
    rng: np.random.Generator, inside: Point, image: Image.Image, size: tuple[int, int]
) -> Point:
    """A place out of the picture, straight left, right, above or below of one that is inside."""
    x, y = inside
    return (
        (-image.width - 2.0, y),
        (size[0] + 2.0, y),
        (x, -image.height - 2.0),
        (x, size[1] + 2.0),
    )[int(rng.integers(4))]


def _free(
    rng: np.random.Generator, image: Image.Image, size: tuple[int, int], things: list[_Thing]
) -> Point | None:
    """A left top corner at which an image covers nothing that is there at the start or end."""
    for _ in range(TRIES):
        x = int(rng.integers(size[0] - image.width + 1))
        y = int(rng.integers(size[1] - image.height + 1))
        taken = ((t.image.size, end) for t in things for end in (t.start, t.end))
        if not any(
            x < left + width
            and left < x + image.width
            and y < top + high
            and top < y + image.height
            for (width, high), (left, top) in taken
        ):
            return float(x), float(y)
    return None


def _image(rng: np.random.Generator, kind: str, colour: str, size: tuple[int, int]) -> Image.Image:
    low, high = sprites.SIZES[kind]
    side = low * float((high / low) ** rng.random()) * min(size) / 256
    jitter = rng.integers(-10, 11, 3)
    r, g, b = (int(np.clip(c + j, 0, 255)) for c, j in zip(RGB[colour], jitter, strict=True))
    return sprites.thing(kind, (r, g, b), side, rng)


def _colour(rng: np.random.Generator) -> str:
    return COLOURS[int(rng.integers(len(COLOURS)))]
