"""A clip as it is sent, and what is known of its frames without decoding them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.bitstream import Bitstream
from shared.errors import StreamTruncated
from shared.frames import Frame, Header, Loss, read_frames, read_header
from shared.level_map import LevelMap


@dataclass(frozen=True)
class SentFrame:
    """A frame of a clip: its time in ticks, its bytes, what share of the latents it brings."""

    time: int
    size: int
    is_key: bool
    moved: float


@dataclass(frozen=True)
class CodedClip:
    """A clip's stream, and what its frames are."""

    header: Header
    data: bytes
    frames: tuple[SentFrame, ...]

    @property
    def codec_id(self) -> bytes:
        """What decodes it."""
        return self.header.codec_id

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return self.frames[-1].time / self.header.ticks

    def to_bytes(self) -> bytes:
        """The stream."""
        return self.data

    def describe(self) -> str:
        """A line about it."""
        still = sum(frame.moved == 0 for frame in self.frames)
        return (
            f"{len(self.frames)} frames of {self.header.width}x{self.header.height}, {still} of "
            f"them still, {self.seconds:.1f} s in {len(self.data)} bytes"
        )

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "width": self.header.width,
            "height": self.header.height,
            "seconds": self.seconds,
            "bytes": len(self.data),
            "codec": self.codec_id.hex(),
            "frames": [
                {
                    "time": frame.time / self.header.ticks,
                    "bytes": frame.size,
                    "key": frame.is_key,
                    "moved": round(frame.moved, 4),
                }
                for frame in self.frames
            ],
        }

    @classmethod
    def of(cls, data: bytes) -> CodedClip:
        """A clip that was coded before. Raises the StreamError that fits, and for a damaged one."""
        header, frames = read_header(data), []
        for each in read_frames(data):
            if isinstance(each, Loss):
                raise each.error
            frames.append(SentFrame(each.time, each.size, each.is_key, moved_share(each, header)))
        if not frames:
            raise StreamTruncated("the clip has no frame")
        return cls(header, data, tuple(frames))


def moved_share(frame: Frame, header: Header) -> float:
    """What share of the latents a frame brings. Raises StreamMalformed."""
    if frame.body is None:
        return 0.0
    if isinstance(frame.body, Bitstream) or not frame.body.plane:
        return 1.0
    plane = LevelMap.decode(frame.body.plane, header.width, header.height)
    return float(np.mean(plane.values > 0))
