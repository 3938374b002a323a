"""What is true of one frame of a clip."""

from __future__ import annotations

from dataclasses import dataclass

from scenes.world import Object


@dataclass(frozen=True)
class Moment:
    """What shows in a frame. unclear: kinds of which a thing shows in part."""

    objects: tuple[Object, ...]
    unclear: frozenset[str]
