"""The edge's half of a clip: which latents changed, and what of them is coded.

picture --transform--> latent --(against what was coded)--> plane --+
   `----guidance-----> quality codes ---------------------------.   |
                                                                v   v
        what the reader knows <--walk-- Frame <--entropy network, ANS, given what it knows
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_client.coding.encoder import Analysed, Encoder
from edge_client.pictures.images import Picture
from shared.bitstream import Bitstream
from shared.clips.frame_walk import STEP, FrameWalk, plane_codes
from shared.coding.integer_network import Before
from shared.frames import Body, Changes, Header
from shared.level_map import MAX_STEP, STEP_UNIT, STRIDE, LevelMap

CHANGED: Final = 2.5
"""Squared change of a latent in steps that it was coded in, from which it is coded again."""
RENEWED: Final = 0.3
"""Share of the latents from which on a frame has a hyper latent of its own."""
CUT: Final = 0.9
"""Share of the latents from which on a frame stands alone."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Coded:
    """A frame, and what its reader knows then. moved: bool [h, w], the latents that it brings."""

    body: Body
    known: Before
    moved: Array


class ClipEncoder:
    """Codes the frames of a clip, one after the other: `analyse`, `code` at any quality, `take`.

    guidance: whether what is important gets more bits. changed: see `CHANGED`. It holds what the
    reader knows and the latents of one frame, however long the clip is.
    """

    def __init__(
        self, encoder: Encoder, header: Header, guidance: bool = True, changed: float = CHANGED
    ) -> None:
        self.header = header
        self._encoder, self._guidance, self._threshold = encoder, guidance, changed
        self._model = encoder.model
        self._walk = FrameWalk(encoder.model, header)
        self._coded: Array | None = None  # latents as they were when they were last coded
        self._since_key = 0

    @property
    def check(self) -> int:
        """That of what the reader knows, after a frame. Raises StreamMalformed before the first."""
        return self._walk.check

    def analyse(self, picture: Picture) -> Analysed:
        """The transform of a frame u8 [H, W, 3], and with guidance its level map."""
        return self._encoder.analyse(picture, self._guidance)

    def moved(self, analysed: Analysed) -> Array:
        """Latents bool [h, w] that are not any more what they were when they were coded."""
        if self._walk.known is None or self._coded is None:
            return np.ones_like(self._walk.changed)
        change = analysed.latent - self._coded
        energy = self._model.squared_steps(change, self._walk.known.codes)
        return np.asarray(energy > self._threshold)

    def code(self, analysed: Analysed, moved: Array, quality_code: int) -> Coded:
        """The next frame at a base quality; nothing of it is kept until `take`."""
        known = self._walk.known
        due = known is None or self._since_key >= self.header.every
        if due or moved.mean() > CUT or (moved.any() and not self._model.goes_on):
            stream, known = analysed.code_known(quality_code)
            return Coded(stream, known, np.ones_like(moved))
        assert known is not None
        if not moved.any():
            return Coded(None, known, moved)
        plane, lowest = _plane(analysed.codes(quality_code), moved, quality_code)
        codes = plane_codes(plane, lowest)
        renews = bool(moved.mean() > RENEWED)
        before = self._walk.basis(renews)
        encoded = self._model.encode(
            analysed.latent, codes, lowest, before=before, mask=moved, keep=True
        )
        assert encoded.symbols is not None
        body = Changes(lowest, encoded.check, renews, plane.encode(), encoded.payload)
        return Coded(body, self._model.before(encoded.symbols, codes, before, moved), moved)

    def take(self, analysed: Analysed, coded: Coded) -> None:
        """Go on from this frame."""
        self._since_key = 1 if isinstance(coded.body, Bitstream) else self._since_key + 1
        self._walk.move(coded.known, coded.moved)
        if self._coded is None:
            self._coded = analysed.latent.copy()
        else:
            np.copyto(self._coded, analysed.latent, where=coded.moved)


def _plane(codes: Array, moved: Array, base: int) -> tuple[LevelMap, int]:
    """Which latents are coded, in one or two qualities, and the code of the lower one.

    codes: i32 [h, w], those of a whole picture at `base`. What is important of what moved gets the
    best of them, the rest the worst.
    """
    better = moved & (codes > base)
    rest = moved & ~better
    if not better.any() or not rest.any():
        some = codes[moved]
        return LevelMap(moved.astype(np.uint8), STRIDE, 2, STEP), int(some.max())
    lowest = int(codes[rest].min())
    step = min(int(codes[better].max()) - lowest, MAX_STEP) // STEP_UNIT * STEP_UNIT
    return LevelMap(moved + better.astype(np.uint8), STRIDE, 3, step), lowest
