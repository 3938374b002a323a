"""What a clip says of itself, read without its bundle; damaged ones, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_client.coding.coded_clip import moved_share
from shared.bundle import ENTROPY, Bundle, find
from shared.clips.kept_frame import walk_from
from shared.entropy_model import EntropyModel
from shared.errors import BundleUnknown
from shared.frames import Frame, Header, Loss, read_base, read_frames, read_header


@dataclass(frozen=True)
class ClipInspection:
    """The head of a clip, its frames and what of it is lost, in their order; bytes of it all.

    base: check of the frame that it goes on from, None for none.
    """

    header: Header
    parts: tuple[Frame | Loss, ...]
    size: int
    base: int | None = None

    @property
    def frames(self) -> list[Frame]:
        """Those that can be read."""
        return [part for part in self.parts if isinstance(part, Frame)]

    def lines(self) -> list[str]:
        """What there is to say, for a person."""
        header, frames = self.header, self.frames
        lines = [
            f"clip       {header.width}x{header.height}, {len(frames)} frames",
            f"codec      {header.codec_id.hex()}",
            f"keyframes  one in {header.every} frames at least",
            f"total      {self.size} bytes",
        ]
        if self.base is not None:
            lines.append(f"base       it goes on from a kept frame of check {self.base:08x}")
        for part in self.parts:
            if isinstance(part, Loss):
                last = "the end" if part.last is None else str(part.last)
                lines.append(f"lost       {part.first} to {last}: {part.error.message}")
                continue
            body = part.body
            kind = "still" if body is None else "key" if part.is_key else "changes"
            quality = "" if body is None else f", quality {body.quality_code / 20:g}"
            lines.append(
                f"frame {part.number:<4} {part.time / header.ticks:8.3f} s {part.size:6} bytes  "
                f"{kind}: {100 * moved_share(part, header):.0f} % of the picture{quality}"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        header = self.header
        return {
            "codec": header.codec_id.hex(),
            "width": header.width,
            "height": header.height,
            "every": header.every,
            "base": None if self.base is None else f"{self.base:08x}",
            "bytes": self.size,
            "frames": [
                {
                    "number": frame.number,
                    "time": frame.time / header.ticks,
                    "bytes": frame.size,
                    "key": frame.is_key,
                    "moved": round(moved_share(frame, header), 4),
                }
                for frame in self.frames
            ],
            "lost": [
                {"first": part.first, "last": part.last, "error": part.error.code}
                for part in self.parts
                if isinstance(part, Loss)
            ],
        }


def inspect_clip(data: bytes) -> ClipInspection:
    """Read a clip. Raises the StreamError that fits its head; what is lost of frames is told."""
    return ClipInspection(read_header(data), tuple(read_frames(data)), len(data), read_base(data))


def verify_clip(inspected: ClipInspection, bundles: Sequence[Bundle]) -> Bundle:
    """Decode the symbols of all frames with a bundle of the clip's codec, which is returned.

    Raises BundleUnknown where none of `bundles` has its codec, DecoderMismatch where the symbols
    are not those that were coded, BaseUnknown where it goes on from a frame that was kept.
    """
    if not bundles:
        raise BundleUnknown("there is no bundle to verify the clip with")
    bundle = find(bundles, inspected.header.codec_id)
    model = EntropyModel.load(bundle.path(ENTROPY))
    walk = walk_from(model, inspected.header, inspected.base, None)
    for frame in inspected.frames:
        walk.read(frame.body)
    return bundle
