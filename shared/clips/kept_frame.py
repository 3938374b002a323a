"""The last frame of a clip, kept so that a later clip may go on from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from shared.clips.frame_walk import FrameWalk, check_of
from shared.coding.integer_network import Before
from shared.entropy_model import EntropyModel
from shared.errors import BaseUnknown
from shared.frames import Header


@dataclass(frozen=True)
class KeptFrame:
    """header: of its clip. known: what was known after it. check: of `known`."""

    header: Header
    known: Before
    check: int

    @classmethod
    def of(cls, walk: FrameWalk) -> KeptFrame:
        """The frame that a walk read last. Raises StreamMalformed before the first keyframe."""
        known = replace(walk.state, signed_scales=None)  # no frame is read with it
        return cls(walk.header, known, check_of(known))

    def copied(self) -> KeptFrame:
        """The same in memory of its own."""
        return replace(self, known=copy.deepcopy(self.known))

    @property
    def size(self) -> int:
        """Bytes of memory."""
        hyper = 0 if self.known.hyper is None else self.known.hyper.nbytes
        return self.known.values.nbytes + self.known.codes.nbytes + hyper


def walk_from(
    model: EntropyModel, header: Header, base: int | None, kept: KeptFrame | None
) -> FrameWalk:
    """The walk of a clip that names its base, or none. kept: what there is to go on from.

    Raises BaseUnknown where that is not what the clip continues.
    """
    if base is None:
        return FrameWalk(model, header)
    check_base(header, base, kept)
    assert kept is not None
    return FrameWalk(model, header, kept.known)


def check_base(header: Header, base: int, kept: KeptFrame | None) -> None:
    """Raise BaseUnknown where a clip does not continue what was kept."""
    if kept is None:
        raise _unknown("the clip continues a frame that is not here, or no more")
    if kept.check != base:
        raise _unknown(
            f"the clip continues a frame of check {base:08x}, here is one of {kept.check:08x}"
        )
    form, kept_form = ((h.codec_id, h.width, h.height) for h in (header, kept.header))
    if form != kept_form:
        raise _unknown("the clip continues a frame of another codec or size")


def _unknown(message: str) -> BaseUnknown:
    return BaseUnknown(message, hint="send a clip that begins with a keyframe")
