"""How much of a page's print a reader finds again.

    lines of the page ----------.
                                 >-- by place --> reads beside a line --> characters found of it
    lines that were read -------'

Case, spaces and punctuation do not count. A line that was read in two parts or together with its
neighbour is still read: it is looked for inside what was read along its base line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEGIBLE: Final = 0.97
"""Share of its characters from which on a line counts as legible uncompressed, and is scored."""

BESIDE: Final = 0.6
"""How far from a line's middle, in heights of it, the middle of what was read of it may lie."""

Array = NDArray[Any]
Quad = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Print:
    """A run of print somewhere in a picture: quad [4, 2] from the top left clockwise, in pixels."""

    text: str
    quad: Quad


def fold(text: str) -> str:
    """The letters and digits of a text, without case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def edits_inside(wanted: str, text: str) -> int:
    """Fewest edits (Levenshtein) that turn `wanted` into any piece of `text`."""
    letters = np.array(list(text), "U1")
    steps = np.arange(len(text) + 1)
    row = np.zeros(len(text) + 1, np.int64)  # a piece may begin anywhere
    for letter in wanted:
        after = row + 1
        after[1:] = np.minimum(after[1:], row[:-1] + (letters != letter))
        row = np.minimum.accumulate(after - steps) + steps
    return int(row.min())  # and end anywhere


def characters_found(line: Print, reads: Sequence[Print]) -> int:
    """How many of the folded characters of a line were read where it stands."""
    wanted = fold(line.text)
    text = "".join(fold(read.text) for read in _along(line, reads))
    return max(0, len(wanted) - edits_inside(wanted, text))


def _along(line: Print, reads: Sequence[Print]) -> list[Print]:
    """What was read along the base line of a line, from its beginning to its end."""
    quad = np.array(line.quad, np.float64)
    start, end = (quad[0] + quad[3]) / 2, (quad[1] + quad[2]) / 2
    length = max(float(np.linalg.norm(end - start)), 1e-6)
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    height = (np.linalg.norm(quad[3] - quad[0]) + np.linalg.norm(quad[2] - quad[1])) / 2
    beside = []
    for read in reads:
        corners = np.array(read.quad, np.float64) - start
        ends = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
        (from_u, from_v), (to_u, to_v) = ((end_ @ along, end_ @ across) for end_ in ends)
        if to_u <= 0 or from_u >= length or to_u <= from_u:
            continue
        middle = (max(from_u, 0.0) + min(to_u, length)) / 2
        away = from_v + (to_v - from_v) * (middle - from_u) / (to_u - from_u)
        if abs(away) <= BESIDE * height:
            beside.append((from_u, read))
    return [read for _, read in sorted(beside, key=lambda pair: pair[0])]
