"""Composes a page from its seed.

(version, split, index) --> kind --> sheet with its print --> camera --> picture, lines, questions
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from scenes.backgrounds import Backgrounds, draw_background
from scenes.pages import camera, charts, documents, lists, screens, street
from scenes.pages.camera import Floats
from scenes.pages.canvas import Canvas, Colour
from scenes.pages.fonts import HELD_OUT, Fonts
from scenes.pages.page import Page
from scenes.world import Question

PAGES_VERSION: Final = 1
PageSplit = Literal["train", "val", "test"]
PAGE_SPLITS: Final[tuple[PageSplit, ...]] = ("train", "val", "test")
SMALLEST_SIDE: Final = 128


@dataclass(frozen=True)
class Kind:
    """How a kind of page comes about.

    aspect: least and largest width over height of its sheet when it is photographed.
    photographed: how often it is.
    paper: colours of its sheet, or none where it paints its own.
    screen: shown by pixels, and so drawn without anti-aliasing of its own where it is not
    photographed, and never creased.
    """

    draw: Callable[[Canvas], list[Question]]
    aspect: tuple[float, float]
    photographed: float
    paper: bool = True
    screen: bool = False


KINDS: Final[dict[str, Kind]] = {
    "paragraph": Kind(documents.paragraph, (0.65, 1.1), 0.5),
    "receipt": Kind(lists.receipt, (0.42, 0.65), 0.7),
    "road sign": Kind(street.road_sign, (1.3, 2.4), 1.0, paper=False),
    "table": Kind(lists.table, (1.0, 1.6), 0.4),
    "chat": Kind(screens.chat, (0.5, 0.65), 0.25, paper=False, screen=True),
    "bar chart": Kind(charts.bars, (1.1, 1.7), 0.3),
    "invoice": Kind(documents.invoice, (0.68, 0.85), 0.5),
    "shop front": Kind(street.shop_front, (1.0, 1.5), 0.5, paper=False),
    "program": Kind(screens.program, (1.2, 1.7), 0.2, paper=False, screen=True),
    "timetable": Kind(lists.timetable, (0.9, 1.5), 0.5),
    "line chart": Kind(charts.curves, (1.1, 1.8), 0.3),
    "poster": Kind(street.poster, (0.6, 0.85), 0.7, paper=False),
    "form": Kind(documents.form, (0.68, 0.9), 0.5),
    "terminal": Kind(screens.terminal, (1.2, 1.7), 0.15, paper=False, screen=True),
    "label": Kind(documents.label, (1.0, 1.6), 0.8),
    "pie chart": Kind(charts.pie, (1.3, 1.8), 0.3),
    "slide": Kind(screens.slide, (1.33, 1.78), 0.3, paper=False, screen=True),
}
"""All kinds of page; they take turns by index, so any seventeen in a row hold each once."""


def render_page(
    split: PageSplit,
    index: int,
    fonts: Fonts,
    backgrounds: Backgrounds,
    size: tuple[int, int] = (640, 480),
) -> Page:
    """Page ``index`` (any integer >= 0) of a split; ``size`` is (width, height) in pixels.

    A pure function of its arguments; only the test split prints the fonts that are held out.
    Raises ValueError for an unknown split, a negative index or a side under 128 pixels.
    """
    if split not in PAGE_SPLITS:
        raise ValueError(f"split must be one of {', '.join(PAGE_SPLITS)}, not {split!r}")
    if index < 0:
        raise ValueError(f"index must not be negative, got {index}")
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"both sides must have at least 128 pixels, got {size[0]}x{size[1]}")
    rng = _generator(split, index)
    if split != "test":
        fonts = fonts.without(HELD_OUT)
    name = list(KINDS)[index % len(KINDS)]
    kind = KINDS[name]
    photographed = bool(rng.random() < kind.photographed)
    corners = _corners(rng, kind, size) if photographed else None
    room = size if corners is None else _sheet_size(corners)
    scale = 1 if kind.screen and not photographed else 2
    sheet = Canvas(rng, fonts, room, _paper(rng, kind, photographed), scale)
    questions = kind.draw(sheet)
    image, lines = sheet.image, tuple(sheet.lines)
    if corners is not None:
        behind = draw_background(rng, backgrounds, size, "")
        creased = not kind.screen and kind.paper and bool(rng.random() < 0.6)
        image, lines = camera.photograph(rng, image, lines, behind, corners, scale, creased)
        image = camera.light(rng, image, bool(rng.random() < 0.4))
        image = camera.sensor(rng, image)
    elif scale > 1:
        image = image.reduce(scale)
        if kind.paper and rng.random() < 0.4:  # scanned; else as a computer makes it
            image = camera.sensor(rng, image)
    view = "photographed" if photographed else "flat"
    return Page(np.array(image), name, view, lines, tuple(questions))


def _generator(split: str, index: int) -> np.random.Generator:
    """The random numbers of one page: the same on every machine, disjoint between splits."""
    name = f"pages/{PAGES_VERSION}/{split}/{index}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))


def _paper(rng: np.random.Generator, kind: Kind, photographed: bool) -> Colour:
    if not kind.paper or (not photographed and rng.random() < 0.6):
        return (255, 255, 255)
    r, g, b = (int(v) for v in np.array([250, 248, 240]) - rng.integers(0, 16, 3))
    return r, g, b


def _corners(rng: np.random.Generator, kind: Kind, size: tuple[int, int]) -> Floats:
    """Where a photographed sheet lies in the picture, [4, 2]: turned a little, seen aslant."""
    aspect = rng.uniform(*kind.aspect)
    share = rng.uniform(0.78, 0.94)
    height = min(size[1] * share, size[0] * share / aspect)
    half = np.array([height * aspect, height]) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    angle = rng.normal(0, 0.05)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = corners @ turn + rng.normal(0, 0.035, (4, 2)) * half.min() * 2
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 2.0
    zoom = min(1.0, *((np.array(size) - 2 * margin) / (high - low)))
    corners, low, high = corners * zoom, low * zoom, high * zoom
    free = np.maximum(np.array(size) - 2 * margin - (high - low), 0)
    placed: Floats = corners - low + margin + free * rng.uniform(0, 1, 2)
    return placed


def _sheet_size(corners: Floats) -> tuple[int, int]:
    """The size that keeps print about as large as it is drawn, at least 100 pixels a side."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    wide, high = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
    return max(100, round(float(wide))), max(100, round(float(high)))
