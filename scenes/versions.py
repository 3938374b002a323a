"""What each version of the world draws. A published version never changes: numbers depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PARTNERS: Final = {
    **{"car": "person", "person": "car", "tree": "dog", "dog": "tree"},
    **{"circle": "square", "square": "circle", "triangle": "star", "star": "triangle"},
}
"""Kinds that a version may draw together more often than others."""


@dataclass(frozen=True)
class World:
    """One version of the world, sizes in pixels of a 256x256 picture.

    version: part of every seed.
    most_of_a_kind: the first kind drawn has 1 to so many with equal chance.
    most_objects: of a scene, signs included.
    overlap: largest share of the smaller of two boxes that they may have in common.
    sign_overlap: the same where one is a sign, which is to be read.
    least_visible: share of its pixels that an object keeps under those drawn later.
    words: how many of `scenes.world.WORDS` signs may say.
    sides: smallest and largest long side of all kinds, or None where each kind has its own.
    lettering: styles of print, of `scenes.sprites.LETTERING`.
    clutter: most shapes that no question asks about.
    partners: how likely the second kind is the first one's partner, and how likely an absent
    partner is asked about rather than any absent kind: the adversarial negatives of POPE (Li et
    al., EMNLP 2023).
    """

    version: int
    most_of_a_kind: int = 4
    most_objects: int = 7
    overlap: float = 0.08
    sign_overlap: float = 0.08
    least_visible: float = 0.0
    words: int = 24
    sides: tuple[float, float] | None = None
    lettering: tuple[str, ...] = ("upright",)
    clutter: int = 0
    partners: float = 0.0


WORLDS: Final = {
    1: World(1),
    2: World(
        2,
        most_of_a_kind=8,
        most_objects=12,
        overlap=0.3,
        sign_overlap=0.02,
        least_visible=0.6,
        words=48,
        sides=(12.0, 96.0),
        lettering=("upright", "slanted", "narrow", "wide", "outlined"),
        clutter=4,
        partners=0.5,
    ),
}

VERSION: Final = 1
"""The version that is drawn where nobody asks for another: the shipped bundles have learnt it."""


def world_of(version: int) -> World:
    """Raises ValueError for an unknown version."""
    if version not in WORLDS:
        known = ", ".join(map(str, WORLDS))
        raise ValueError(f"the world has versions {known}, not {version}")
    return WORLDS[version]
