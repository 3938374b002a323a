"""What a finished page holds: plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scenes.world import Question

Quad = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""Top left, top right, bottom right, bottom left of the print, x then y, in pixels."""


@dataclass(frozen=True)
class Line:
    """One run of print as it stands on the page.

    text: exactly what is printed.
    quad: around the ink, in pixels of the picture.
    size: of the font, in pixels an em.
    """

    text: str
    quad: Quad
    size: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom around the quad."""
        xs, ys = zip(*self.quad, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Page:
    """A picture of print with everything that is printed on it.

    picture: u8 ``[H, W, 3]``.
    kind: one of ``scenes.pages.KINDS``.
    view: "flat" fills the picture as a scan or a screenshot does, "photographed" does not.
    lines: all print, in the order of drawing.
    questions: their answers are printed.
    """

    picture: npt.NDArray[np.uint8]
    kind: str
    view: str
    lines: tuple[Line, ...]
    questions: tuple[Question, ...]
