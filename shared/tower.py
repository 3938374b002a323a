"""What a bundle knows of the vision tower that its guidance and adapter were made for.

The tower itself stays where it is, in somebody's model; `TowerSpec` is its description in the
manifest, and its fingerprint is how a server finds out whether the model that it serves has it.
"""

from __future__ import annotations

import math
import struct
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PROJECTIONS: Final = 32
UNIT: Final = 1024  # steps a unit of a projection in a fingerprint
TOLERANCE: Final = 0.003
"""Largest root mean square between fingerprints of one tower. bfloat16 moves one by 0.0017, float16
by a tenth of that; training that moves each tensor by a part `x` of its size, by about `x`."""

Shade = Annotated[int, Field(ge=0, le=255)]


class TowerSpec(BaseModel):
    """A vision tower as a model and its image processor say it is.

    model, vision: `model_type` of the model and of its vision part in transformers' configurations.
    width, heads: of its layers. patch: pixels a side. grid: patches a side of each view; None where
    views have the shape of the picture. leading: tokens before those of the patches ([CLS]: 1).
    layer: the hidden state that the model's projector reads, counted from the last, -1.
    mean, deviation: of the channels, 0..1, as the processor normalises them; fill: what stands
    beside a picture on a square that it does not fill, u8.
    layout: who lays a picture on the tower's square. "processor": the model's own image processor,
    whatever it does; "corner": the picture lies in the top left corner, its long side fills it.
    fingerprint: `shared.nets.fingerprint` of its weights; compare with `same_tower`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    vision: str
    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    patch: int = Field(ge=4, le=64)
    grid: int | None = Field(ge=1, le=256)
    leading: int = Field(ge=0, le=16)
    layer: int = Field(ge=-128, le=-1)
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    fill: tuple[Shade, Shade, Shade]
    layout: Literal["processor", "corner"]
    fingerprint: str = Field(pattern=f"^[0-9a-f]{{{4 * PROJECTIONS}}}$")


def same_tower(fingerprint: str, other: str) -> bool:
    """Whether two fingerprints are of one tower, whatever the precision of its weights."""
    pairs = zip(_projections(fingerprint), _projections(other), strict=True)
    distance = math.sqrt(sum((a - b) ** 2 for a, b in pairs) / PROJECTIONS)
    return distance <= TOLERANCE * UNIT


def write_fingerprint(projections: list[float]) -> str:
    """A fingerprint of `PROJECTIONS` numbers; those beyond the range of 16 bits are cut to it."""
    steps = (max(-0x7FFF, min(0x7FFF, round(value * UNIT))) for value in projections)
    return struct.pack(_FORM, *steps).hex()


_FORM: Final = f">{PROJECTIONS}h"


def _projections(fingerprint: str) -> tuple[int, ...]:
    return struct.unpack(_FORM, bytes.fromhex(fingerprint))
