"""How both ends cut a large picture, so that memory is bounded by a tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Along one axis: `start`..`stop` is what a tile is for, `low`..`high` what it sees."""

    start: int
    stop: int
    low: int
    high: int


def spans(length: int, tile: int, margin: int) -> Iterator[Span]:
    """Tiles that cover a length without overlap, each seeing `margin` more on both sides."""
    for start in range(0, length, tile):
        stop = min(length, start + tile)
        yield Span(start, stop, max(0, start - margin), min(length, stop + margin))


def starts(length: int, tile: int, unit: int) -> list[int]:
    """Where equal tiles start that cover a length and overlap evenly; multiples of `unit`."""
    if length <= tile:
        return [0]
    count = -(-length // tile)
    last = -(-(length - tile) // unit)
    return [round(i * last / (count - 1)) * unit for i in range(count)]
