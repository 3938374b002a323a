"""A flat sheet to print on, which remembers every line of its print.

All lengths are pixels of the finished picture; the sheet itself is drawn `scale` times as large,
so that paper can be turned and bent without losing its edges (a screen is drawn as it is).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenes.pages.fonts import Fonts, Typeface
from scenes.pages.page import Line

Colour = tuple[int, int, int]

SMALLEST: Final = 8.0
LARGEST: Final = 60.0
"""Sizes of print in pixels an em."""

INK: Final[Colour] = (24, 24, 28)


@dataclass(frozen=True)
class Style:
    """How a line is printed; `size` in pixels an em, on a sheet drawn `scale` times as large."""

    face: Typeface
    size: float
    scale: int
    weight: int = 400
    colour: Colour = INK
    italic: bool = False

    def of(self, size: float) -> Style:
        """The same in another size, within the sizes of pages."""
        return replace(self, size=min(max(size, SMALLEST), LARGEST))

    def heavy(self, weight: int = 700) -> Style:
        """The same, heavier."""
        return replace(self, weight=weight)

    def inked(self, colour: Colour) -> Style:
        """The same in another colour."""
        return replace(self, colour=colour)

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        """The font on the sheet."""
        return self.face.at(self.size * self.scale, self.weight, self.italic)

    def length(self, text: str) -> float:
        """How far `text` runs, in pixels."""
        return self.font.getlength(text) / self.scale

    @property
    def leading(self) -> float:
        """Comfortable distance of two base lines."""
        return 1.35 * self.size


class Canvas:
    """The sheet; `width` and `height` in pixels of the picture."""

    def __init__(
        self,
        rng: np.random.Generator,
        fonts: Fonts,
        size: tuple[int, int],
        paper: Colour,
        scale: int,
    ) -> None:
        self.rng, self.fonts, self.scale = rng, fonts, scale
        self.width, self.height = size
        self.image = Image.new("RGB", (size[0] * scale, size[1] * scale), paper)
        self.pen = ImageDraw.Draw(self.image)
        self.lines: list[Line] = []

    def style(self, size: float, *roles: str, weight: int = 400, colour: Colour = INK) -> Style:
        """A style in a typeface picked from the roles."""
        return Style(self.fonts.pick(self.rng, *roles), size, self.scale, weight, colour).of(size)

    def text(self, x: float, y: float, text: str, style: Style, anchor: str = "ls") -> float:
        """Print a line with its anchor (as Pillow names them) at a point; returns its length.

        What would leave the sheet at a side is cut off at whole characters before it is printed;
        a line that would leave it above or below is not printed, nor is one of length 0.
        """
        text = self._that_fits(x, text.strip(), style, anchor[0])
        scale, font = self.scale, style.font
        at = (round(x * scale), round(y * scale))
        left, top, right, bottom = (
            value / scale for value in self.pen.textbbox(at, text, font, anchor)
        )
        if not text or top < 0 or bottom > self.height:
            return 0.0
        self.pen.text(at, text, style.colour, font, anchor)
        quad = ((left, top), (right, top), (right, bottom), (left, bottom))
        self.lines.append(Line(text, quad, style.size))
        return style.length(text)

    def _that_fits(self, x: float, text: str, style: Style, anchor: str) -> str:
        room = {"l": self.width - x, "r": x, "m": 2 * min(x, self.width - x)}[anchor] - 2
        while text and style.length(text) > room:
            text = text[:-1].rstrip()
        return text

    def fit(self, text: str, style: Style, width: float) -> Style:
        """The style, made smaller where `text` is longer than `width`; never under the smallest."""
        length = style.length(text)
        return style if length <= width else style.of(style.size * width / length * 0.99)

    def wrap(self, text: str, style: Style, width: float) -> list[str]:
        """The lines of a paragraph, none longer than `width` unless a single word is."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and style.length(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def rect(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour | None = None,
        edge: Colour | None = None,
        radius: float = 0.0,
        line: float = 1.0,
    ) -> None:
        """A box between two corners; nothing where it has no inside."""
        box = [round(v * self.scale) for v in (x0, y0, x1, y1)]
        box[2], box[3] = box[2] - 1, box[3] - 1
        if box[2] < box[0] or box[3] < box[1]:
            return
        width = max(1, round(line * self.scale)) if edge else 0
        room = min(box[2] - box[0], box[3] - box[1]) / 2
        self.pen.rounded_rectangle(box, min(radius * self.scale, room), fill, edge, width)

    def rule(
        self, points: Sequence[tuple[float, float]], colour: Colour, line: float = 1.0
    ) -> None:
        """A line through points."""
        scaled = [(round(x * self.scale), round(y * self.scale)) for x, y in points]
        self.pen.line(scaled, colour, max(1, round(line * self.scale)), "curve")

    def polygon(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        """A filled polygon."""
        self.pen.polygon([(x * self.scale, y * self.scale) for x, y in points], fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A filled disc."""
        s = self.scale
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.pen.ellipse(box, fill)

    def slice(
        self, x: float, y: float, radius: float, start: float, end: float, fill: Colour
    ) -> None:
        """A slice of a pie, angles in degrees clockwise from three o'clock."""
        s = self.scale
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.pen.pieslice(box, start, end, fill)

    def between(self, low: float, high: float) -> float:
        """A number with even chance on a logarithmic scale, as sizes of print are."""
        return float(low * (high / low) ** self.rng.random())
