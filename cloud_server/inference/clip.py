"""A clip on the server: each frame is a work of its own, and latents are read in their order."""

from __future__ import annotations

from dataclasses import dataclass

from shared.bitstream import Limits
from shared.clips.frame_walk import FrameWalk
from shared.clips.kept_frame import KeptFrame, check_base, walk_from
from shared.entropy_model import EntropyModel
from shared.errors import StreamTooLarge, StreamTruncated
from shared.frames import Frame, Loss, read_base, read_frames, read_header


class Clip:
    """The frames of a clip that can be read; nothing of them is decoded yet.

    most: frames. kept: what it may go on from. keeps: whether its last frame is to be kept. Raises
    the StreamError that fits: that of what is lost, where no frame is sound; BaseUnknown where it
    does not go on from `kept`.
    """

    def __init__(
        self,
        data: bytes,
        limits: Limits | None = None,
        most: int | None = None,
        kept: KeptFrame | None = None,
        keeps: bool = False,
    ) -> None:
        self.header = read_header(data, limits)
        self.base = read_base(data, limits)
        if self.base is not None:
            check_base(self.header, self.base, kept)
        self._kept, self.keeps_last = kept, keeps
        self.frames: list[Frame] = []
        self.losses: list[Loss] = []
        for each in read_frames(data, limits):
            if isinstance(each, Loss):
                self.losses.append(each)
                continue
            self.frames.append(each)
            if most is not None and len(self.frames) > most:
                raise StreamTooLarge(
                    f"the clip has more than {most} frames", hint="send fewer: --frames"
                )
        if not self.frames:
            raise self.losses[0].error if self.losses else StreamTruncated("the clip has no frame")
        self._walk: FrameWalk | None = None
        self._read = 0

    @property
    def codec_id(self) -> bytes:
        """What decodes it."""
        return self.header.codec_id

    def walk(self, index: int, model: EntropyModel) -> FrameWalk:
        """What its reader knows after a frame, each later than the last that was asked for.

        Raises StreamMalformed or DecoderMismatch.
        """
        if self._walk is None:
            self._walk = walk_from(model, self.header, self.base, self._kept)
        while self._read <= index:
            self._walk.read(self.frames[self._read].body)
            self._read += 1
        walk = self._walk
        if self._read == len(self.frames):
            self._walk, self._read = None, 0  # what is kept of a clip, or sent on, is small
        return walk


@dataclass(frozen=True)
class ClipFrame:
    """A frame of a clip, in place of a picture's stream."""

    clip: Clip
    index: int

    @property
    def codec_id(self) -> bytes:
        """What decodes it."""
        return self.clip.codec_id

    @property
    def time(self) -> float:
        """Seconds since the clip began."""
        return self.clip.frames[self.index].time / self.clip.header.ticks

    @property
    def is_kept(self) -> bool:
        """Whether a later clip is to go on from it."""
        return self.clip.keeps_last and self.index == len(self.clip.frames) - 1

    def walk(self, model: EntropyModel) -> FrameWalk:
        """What is known once it is read. Raises StreamMalformed or DecoderMismatch."""
        return self.clip.walk(self.index, model)
