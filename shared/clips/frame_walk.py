"""What a reader of a clip knows after each frame. The writer holds one, too, and so never drifts.

keyframe --as any picture--------------------------> latents, quality codes, hyper latent
kept     --of an earlier clip, named by its check--> the same
changes  --plane: which latents, at which quality--> those latents, onto what is known
nothing  ------------------------------------------> what is known
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.bitstream import Bitstream
from shared.coding.integer_network import Before
from shared.entropy_model import EntropyModel
from shared.errors import StreamMalformed
from shared.frames import Body, Changes, Header
from shared.level_map import MAX_CODE, STRIDE, LevelMap, latent_shape, read_codes

STEP: Final = 30
"""Of a plane that has one quality, where it says nothing."""

Array = NDArray[Any]


class FrameWalk:
    """Walks over the frames of a clip.

    known: what the reader has; None before the first keyframe, unless it is given. changed: bool
    [h, w], the latents that the last frame brought. level_map: of the last keyframe.
    """

    def __init__(self, model: EntropyModel, header: Header, known: Before | None = None) -> None:
        self.model, self.header = model, header
        self.known = known
        self.changed: Array = np.zeros(latent_shape(header.width, header.height), bool)
        self.level_map: LevelMap | None = None

    @property
    def state(self) -> Before:
        """What is known. Raises StreamMalformed before the first keyframe."""
        if self.known is None:
            raise StreamMalformed("a frame continues another, and there is none")
        return self.known

    def latent(self) -> Array:
        """Latent f32 [C, h, w] (8-bit units) of the last frame."""
        return self.model.latent(self.state)

    @property
    def check(self) -> int:
        """That of what is known, by which a later clip names it. Raises as `state`."""
        return check_of(self.state)

    def read(self, body: Body) -> None:
        """Take the next frame. Raises StreamMalformed or DecoderMismatch."""
        if body is None:
            known, changed = self.state, np.zeros_like(self.changed)
        elif isinstance(body, Bitstream):
            codes, self.level_map = read_codes(body)
            symbols = self.model.read(body.latents, body.check, codes, body.quality_code)
            known, changed = self.model.before(symbols, codes), np.ones_like(self.changed)
        else:
            changed, codes = self._plane(body)
            before = self.basis(body.renews)
            code = body.quality_code
            symbols = self.model.read(body.latents, body.check, codes, code, before, changed)
            known = self.model.before(symbols, codes, before, changed)
        self.move(known, changed)

    def move(self, known: Before, changed: Array) -> None:
        """Know this from now on."""
        self.known, self.changed = known, changed

    def basis(self, renews: bool) -> Before:
        """What the next frame's latents are coded onto."""
        known = self.state
        return Before(known.values, known.codes) if renews else known

    def _plane(self, body: Changes) -> tuple[Array, Array]:
        """Which latents are coded, bool [h, w], and their quality codes i32 [h, w]."""
        if not body.plane:
            return np.ones_like(self.changed), np.full(self.changed.shape, body.quality_code)
        plane = LevelMap.decode(body.plane, self.header.width, self.header.height)
        if plane.cell != STRIDE or plane.levels > 3 or not plane.values.any():
            raise StreamMalformed(
                "the plane of a frame has another form, or says that none changed"
            )
        changed = plane.values > 0
        return changed, plane_codes(plane, body.quality_code)


def check_of(known: Before) -> int:
    """CRC-32 of all that a frame which continues a clip is read with."""
    assert known.hyper is not None
    crc = zlib.crc32(known.values.astype("<i8").data)
    crc = zlib.crc32(known.codes.astype(np.uint8).data, crc)
    return zlib.crc32(known.hyper.astype("<i2").data, crc)


def plane_codes(plane: LevelMap, quality_code: int) -> Array:
    """Quality codes i32 [h, w] of what a plane marks: level 2 is a step above level 1."""
    above = np.where(plane.values == 2, plane.step, 0)
    return np.minimum(quality_code + above, MAX_CODE).astype(np.int32)
