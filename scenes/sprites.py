"""Draws one object on a small transparent canvas of its own, anti-aliased.

Shapes are given in units of the canvas (0..1 across, 0..1 down), drawn ``SCALE`` times too large
and reduced, which is the cheapest good anti-aliasing that Pillow offers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenes.world import Character

SCALE: Final = 3
Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

SIZES: Final[dict[str, tuple[int, int]]] = {
    "car": (42, 90),
    "person": (46, 90),
    "tree": (42, 90),
    "dog": (38, 84),
    "circle": (30, 72),
    "square": (30, 70),
    "triangle": (34, 76),
    "star": (36, 80),
}
"""Smallest and largest long side in pixels, in a 256x256 picture."""

ASPECT: Final[dict[str, float]] = {"car": 1.9, "person": 0.46, "tree": 0.72, "dog": 1.35}
"""Width over height; 1 where not named."""


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (factor < 1) or lighter (factor > 1, towards white)."""
    if factor <= 1:
        r, g, b = (int(c * factor) for c in colour)
    else:
        r, g, b = (int(255 - (255 - c) * (2 - factor)) for c in colour)
    return r, g, b


def luminance(colour: Colour) -> float:
    """Rec. 601 luma, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def outline_of(colour: Colour) -> Colour:
    """An edge that keeps the object visible on a background of its own colour."""
    return (205, 205, 208) if luminance(colour) < 60 else shade(colour, 0.45)


class Pen:
    """Draws in unit coordinates on a canvas of ``width`` x ``height`` final pixels."""

    def __init__(self, width: int, height: int, base: Colour) -> None:
        self.w, self.h = width * SCALE, height * SCALE
        # The hidden colour under transparent pixels is the object's own.
        self.image = Image.new("RGBA", (self.w, self.h), (*base, 0))
        self.draw = ImageDraw.Draw(self.image)
        self.line = SCALE + (SCALE if max(width, height) > 60 else 0) // 2

    def _xy(self, points: Points) -> list[tuple[float, float]]:
        return [(x * (self.w - 1), y * (self.h - 1)) for x, y in points]

    def polygon(self, points: Points, fill: Colour, edge: Colour | None = None) -> None:
        self.draw.polygon(self._xy(points), fill, edge, self.line if edge else 0)

    def oval(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, edge: Colour | None = None
    ) -> None:
        box = self._xy([(x0, y0), (x1, y1)])
        self.draw.ellipse(box, fill, edge, self.line if edge else 0)

    def rect(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour,
        edge: Colour | None = None,
        radius: float = 0.0,
    ) -> None:
        box = self._xy([(x0, y0), (x1, y1)])
        line = self.line if edge else 0
        try:
            self.draw.rounded_rectangle(box, radius * min(self.w, self.h), fill, edge, line)
        except ValueError:  # Pillow cannot round a box of a few pixels, where no corner shows
            self.draw.rectangle(box, fill, edge, line)

    def reduced(self) -> Image.Image:
        """The canvas at its final size, RGBA."""
        return self.image.reduce(SCALE)


def _car(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    edge = outline_of(c)
    glass: Colour = (190, 220, 240) if luminance(c) < 190 else (90, 120, 150)
    pen.polygon([(0.2, 0.5), (0.33, 0.06), (0.7, 0.06), (0.86, 0.5)], c, edge)
    pen.rect(0.0, 0.4, 1.0, 0.83, c, edge, 0.2)
    pen.rect(0.25, 0.42, 0.82, 0.56, c)
    pen.polygon([(0.29, 0.45), (0.375, 0.16), (0.49, 0.16), (0.49, 0.45)], glass)
    pen.polygon([(0.54, 0.45), (0.54, 0.16), (0.66, 0.16), (0.77, 0.45)], glass)
    pen.rect(0.94, 0.5, 1.0, 0.62, (255, 240, 150))
    for x in (0.23, 0.77):
        pen.oval(x - 0.12, 0.6, x + 0.12, 0.995, (20, 20, 22), (120, 120, 120))
        pen.oval(x - 0.05, 0.72, x + 0.05, 0.88, (185, 185, 190))


def _person(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    edge = outline_of(c)
    skins: tuple[Colour, ...] = ((240, 200, 165), (205, 150, 110), (130, 85, 60))
    skin = skins[int(rng.integers(3))]
    legs: Colour = (70, 70, 82) if luminance(c) > 60 else (150, 145, 135)
    hair: Colour = (60, 40, 28)
    pen.rect(0.27, 0.58, 0.48, 0.98, legs, None, 0.06)
    pen.rect(0.53, 0.58, 0.74, 0.98, legs, None, 0.06)
    pen.rect(0.0, 0.3, 0.19, 0.62, c, edge, 0.15)
    pen.rect(0.81, 0.3, 1.0, 0.62, c, edge, 0.15)
    pen.oval(0.01, 0.58, 0.18, 0.66, skin)
    pen.oval(0.82, 0.58, 0.99, 0.66, skin)
    pen.rect(0.17, 0.27, 0.83, 0.68, c, edge, 0.2)
    pen.oval(0.24, 0.0, 0.77, 0.22, hair)
    pen.oval(0.27, 0.04, 0.74, 0.27, skin)
    pen.oval(0.38, 0.12, 0.45, 0.15, (30, 30, 30))
    pen.oval(0.56, 0.12, 0.63, 0.15, (30, 30, 30))


def _tree(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    edge = outline_of(c)
    pen.rect(0.4, 0.55, 0.6, 1.0, (112, 74, 42), (70, 45, 25))
    if rng.random() < 0.5:
        pen.polygon([(0.5, 0.28), (0.0, 0.78), (1.0, 0.78)], c, edge)
        pen.polygon([(0.5, 0.12), (0.09, 0.55), (0.91, 0.55)], c, edge)
        pen.polygon([(0.5, 0.0), (0.18, 0.32), (0.82, 0.32)], c, edge)
        return
    balls = ((0.28, 0.46, 0.28), (0.72, 0.46, 0.28), (0.5, 0.26, 0.34), (0.5, 0.5, 0.3))
    ratio = pen.w / pen.h
    for x, y, r in balls:
        pen.oval(x - r, y - r * ratio, x + r, y + r * ratio, c, edge)
    for x, y, r in balls:
        r *= 0.86
        pen.oval(x - r, y - r * ratio, x + r, y + r * ratio, c)
    dot = shade(c, 0.72) if luminance(c) > 60 else shade(c, 1.3)
    for x, y in ((0.35, 0.3), (0.63, 0.22), (0.3, 0.52), (0.68, 0.5), (0.5, 0.4)):
        pen.oval(x - 0.05, y - 0.035, x + 0.05, y + 0.035, dot)


def _dog(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    edge = outline_of(c)
    dark = shade(c, 0.62) if luminance(c) > 60 else (75, 75, 80)
    pen.polygon([(0.1, 0.5), (0.0, 0.14), (0.07, 0.12), (0.2, 0.42)], c, edge)
    for x in (0.14, 0.28, 0.55, 0.68):
        pen.rect(x, 0.6, x + 0.1, 0.995, c, edge)
    pen.rect(0.09, 0.38, 0.8, 0.76, c, edge, 0.22)
    pen.oval(0.6, 0.08, 0.93, 0.54, c, edge)
    pen.rect(0.8, 0.28, 1.0, 0.5, c, edge, 0.1)
    pen.rect(0.66, 0.36, 0.9, 0.5, c)
    pen.polygon([(0.62, 0.12), (0.74, 0.08), (0.7, 0.42), (0.58, 0.38)], dark, edge)
    eye: Colour = (20, 20, 20) if luminance(c) > 60 else (240, 240, 240)
    pen.oval(0.79, 0.2, 0.85, 0.28, eye)
    pen.oval(0.95, 0.28, 1.0, 0.36, eye)


def _turned(points: Points, angle: float) -> list[tuple[float, float]]:
    """Points around (0, 0) turned by ``angle`` radians and fitted into the unit square."""
    co, si = math.cos(angle), math.sin(angle)
    turned = [(x * co - y * si, x * si + y * co) for x, y in points]
    x0, x1 = min(x for x, _ in turned), max(x for x, _ in turned)
    y0, y1 = min(y for _, y in turned), max(y for _, y in turned)
    return [((x - x0) / (x1 - x0), (y - y0) / (y1 - y0)) for x, y in turned]


def _circle(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    pen.oval(0.0, 0.0, 1.0, 1.0, c, outline_of(c))


def _square(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    pen.polygon(_turned(corners, rng.uniform(-0.2, 0.2)), c, outline_of(c))


def _triangle(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    corners = [(0.0, -1.0), (0.87, 0.5), (-0.87, 0.5)]
    pen.polygon(_turned(corners, rng.uniform(-0.25, 0.25)), c, outline_of(c))


def _star(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    points = []
    for i in range(10):
        r = 1.0 if i % 2 == 0 else 0.44
        points.append((r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)))
    pen.polygon(_turned(points, rng.uniform(-0.3, 0.3)), c, outline_of(c))


_DRAW: Final[dict[str, Callable[[Pen, Colour, np.random.Generator], None]]] = {
    "car": _car,
    "person": _person,
    "tree": _tree,
    "dog": _dog,
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
}


def thing(kind: str, colour: Colour, size: float, rng: np.random.Generator) -> Image.Image:
    """One object other than a sign; ``size`` is its long side in pixels. RGBA, tight canvas."""
    aspect = ASPECT.get(kind, 1.0)
    width, height = (size, size / aspect) if aspect >= 1 else (size * aspect, size)
    pen = Pen(max(4, round(width)), max(4, round(height)), colour)
    _DRAW[kind](pen, colour, rng)
    image = pen.reduced()
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


@functools.lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("scenes needs a Pillow that was built with FreeType (for its own font)")
    return font


CAP_HEIGHT: Final = 0.71
"""Height of a capital over the em of Pillow's own font."""


LETTERING: Final[dict[str, tuple[float, float]]] = {
    "upright": (1.0, 0.0),
    "slanted": (1.0, 0.22),
    "narrow": (0.78, 0.0),
    "wide": (1.25, 0.0),
    "outlined": (1.0, 0.0),
}
"""Styles of Pillow's own font: width and slant."""


def sign(
    text: str,
    colour: Colour,
    height: float,
    rng: np.random.Generator,
    lettering: Sequence[str] = ("upright",),
) -> tuple[Image.Image, tuple[Character, ...]]:
    """A board on a post with ``text`` (printed in capitals), characters ``height`` pixels tall.

    Returns the RGBA canvas and the characters, placed in canvas pixels. One of the styles of
    ``lettering`` is drawn.
    """
    text = text.upper()
    font = _font(max(6, round(height * SCALE / CAP_HEIGHT)))
    bold = int(rng.integers(0, 2)) * max(1, round(height * SCALE / 40))
    style = lettering[int(rng.integers(len(lettering)))] if len(lettering) > 1 else lettering[0]
    stretch, slant = LETTERING[style]
    gap = height * SCALE * 0.1 + 2 * bold
    advances = [font.getlength(c) * stretch + gap for c in text]
    pad = (0.32 + 0.2 * rng.random()) * height * SCALE + 2 * SCALE
    board_w, board_h = sum(advances) - gap + 2 * pad, height * SCALE + 2 * pad
    post_h = (0.25 + 0.3 * rng.random()) * board_h + 4 * SCALE
    pen = Pen(math.ceil(board_w / SCALE), math.ceil((board_h + post_h) / SCALE), colour)
    draw, half = pen.draw, max(2.0 * SCALE, 0.05 * board_w)
    middle = pen.w / 2
    draw.rectangle((middle - half, board_h - 2, middle + half, pen.h), (120, 105, 90), (70, 60, 52))
    ink: Colour = (18, 18, 22) if luminance(colour) > 135 else (250, 250, 250)
    radius = (0.04 + 0.1 * rng.random()) * board_h
    draw.rounded_rectangle((0, 0, pen.w - 1, board_h), radius, colour, ink, round(1.3 * SCALE))
    x, baseline = (pen.w - sum(advances) + gap) / 2, pad + height * SCALE
    characters = []
    for c, advance in zip(text, advances, strict=True):
        if style == "outlined":
            line = bold + max(1, round(height * SCALE / 20))
            draw.text((x, baseline), c, colour, font, "ls", stroke_width=line, stroke_fill=ink)
        elif style == "upright":
            draw.text((x, baseline), c, ink, font, "ls", stroke_width=bold, stroke_fill=ink)
        else:
            _transformed(pen, (x, baseline), c, ink, font, bold, height * SCALE, stretch, slant)
        centre_x, centre_y = x + (advance - gap) / 2, baseline - height * SCALE / 2
        characters.append(Character(c, centre_x / SCALE, centre_y / SCALE, height))
        x += advance
    return pen.reduced(), tuple(characters)


def _transformed(
    pen: Pen,
    at: tuple[float, float],
    c: str,
    ink: Colour,
    font: ImageFont.FreeTypeFont,
    bold: int,
    height: float,
    stretch: float,
    slant: float,
) -> None:
    """Prints a character from a point of its baseline on, stretched, slanted about its middle."""
    around = math.ceil(0.4 * height)
    size = (math.ceil(font.getlength(c)) + 2 * around, math.ceil(height) + 2 * around)
    glyph = Image.new("L", size)
    base = height + around
    ImageDraw.Draw(glyph).text((around, base), c, 255, font, "ls", stroke_width=bold)
    across = (1 / stretch, slant, -slant * (base - height / 2), 0.0, 1.0, 0.0)
    glyph = glyph.transform(
        (math.ceil(size[0] * stretch), size[1]),
        Image.Transform.AFFINE,
        across,
        Image.Resampling.BILINEAR,
    )
    corner = (round(at[0] - around * stretch), round(at[1] - base))
    pen.image.paste((*ink, 255), corner, glyph)


def clutter(picture: Image.Image, number: int, rng: np.random.Generator) -> None:
    """Draws shapes that have no name in this world on ``picture``, greyish and 10 to 60 pixels."""
    unit = min(picture.size) / 256
    for _ in range(number):
        grey = int(rng.integers(50, 206))
        r, g, b = (int(np.clip(grey + v, 0, 255)) for v in rng.integers(-22, 23, 3))
        side = max(4, round(unit * 10 * 6 ** rng.random()))
        pen = Pen(side, side, (r, g, b))
        _CLUTTER[int(rng.integers(len(_CLUTTER)))](pen, (r, g, b), rng)
        image = pen.reduced().rotate(int(rng.integers(4)) * 90)
        x = int(rng.integers(max(1, picture.width - side)))
        y = int(rng.integers(max(1, picture.height - side)))
        picture.paste(image, (x, y), image)


def _cross(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    pen.rect(0.38, 0.0, 0.62, 1.0, c)
    pen.rect(0.0, 0.38, 1.0, 0.62, c)


def _ring(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    width = max(SCALE, round(pen.w * 0.14))
    pen.draw.ellipse((0, 0, pen.w - 1, pen.h - 1), None, c, width)


def _zigzag(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    points = pen._xy([(i / 4, 0.15 + 0.7 * (i % 2)) for i in range(5)])
    pen.draw.line(points, c, max(SCALE, round(pen.w * 0.12)))


def _bar(pen: Pen, c: Colour, rng: np.random.Generator) -> None:
    pen.rect(0.35, 0.0, 0.55, 1.0, c)


_CLUTTER: Final = (_cross, _ring, _zigzag, _bar)
