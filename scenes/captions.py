"""One sentence that says what is in a scene, for contrastive training and retrieval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from scenes.world import PLURALS, Object

NUMBERS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")
_OPENINGS: Final[dict[str, tuple[str, ...]]] = {
    "": ("a picture with", "a picture of", "an image of"),
    "street": ("a street with", "a road with"),
    "field": ("a field with", "a lawn with"),
    "beach": ("a beach with", "the sea and"),
    "indoor": ("a room with", "an indoor scene with"),
    "night": ("a night scene with", "a night sky with"),
}


def describe(rng: np.random.Generator, objects: Sequence[Object], category: str) -> str:
    """Kinds with their counts and colours and the words on signs, in random order."""
    groups = Counter((o.kind, o.colour, o.text) for o in objects)
    parts = []
    for (kind, colour, text), n in groups.items():
        if n > 1:
            part = f"{NUMBERS[n]} {colour} {PLURALS[kind]}"
            says = "say"
        else:
            part = f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {kind}"
            says = "says"
        parts.append(f"{part} that {says} {text}" if text else part)
    parts = [parts[i] for i in rng.permutation(len(parts))]
    openings = _OPENINGS[category]
    opening = openings[int(rng.integers(len(openings)))]
    if not parts:
        return f"{opening} nothing in it"
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{opening} {listed}"


def phrases() -> list[str]:
    """The fixed parts of all captions."""
    openings = [text for group in _OPENINGS.values() for text in group]
    return [*openings, "a", "an", "and", "nothing in it", "that says", "that say"]
