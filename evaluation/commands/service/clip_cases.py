"""Damaged clips as `fuzz` tries them: each is read up to its latents, or ends as documented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evaluation.codecs.clip_damage import damaged_clip
from evaluation.codecs.damage import Case, Chance
from shared.bitstream import Limits
from shared.clips.kept_frame import KeptFrame, walk_from
from shared.entropy_model import EntropyModel
from shared.errors import StreamError
from shared.frames import Frame, Loss, read_base, read_frames, read_header


@dataclass(frozen=True)
class Clips:
    """Damaged clips, read up to the latents of their frames; some go on from what was kept.

    kept: what each of the good ones may go on from.
    """

    model: EntropyModel
    good: list[bytes]
    kept: list[KeptFrame]
    limits: Limits
    section: ClassVar[str] = "fuzz_clips"
    names: ClassVar[str] = "clips"
    wrong: ClassVar[str] = "frames out of order"

    def draw(self, chance: Chance) -> Case:
        """Another case. One in ten finds another frame kept than its own."""
        data, number = damaged_clip(self.good, chance)
        if chance.random() < 0.1:
            number = int(chance.integers(len(self.kept)))
        return Case(data, number)

    def read(self, case: Case) -> str:
        """How reading ended: "decoded", "some lost", or the code of the first error.

        Raises what a reader must not raise, and AssertionError where frames are out of order.
        """
        lost, last = False, -1
        try:
            header = read_header(case.data, self.limits)
            base = read_base(case.data, self.limits)
            walk = walk_from(self.model, header, base, self.kept[case.base])
            for each in read_frames(case.data, self.limits):
                if isinstance(each, Loss):
                    assert each.last is None or each.last >= each.first, "a loss of no frame"
                    lost = True
                    continue
                assert isinstance(each, Frame)
                assert each.number > last, "frames out of order"
                last = each.number
                walk.read(each.body)
                assert np.isfinite(walk.latent()).all(), "a latent that is no number"
        except StreamError as error:
            return error.code
        return "some lost" if lost else "decoded"
