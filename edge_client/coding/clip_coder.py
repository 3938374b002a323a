"""From a clip in any form to its stream: frames chosen, scaled, coded, within what may be sent.

source --shots--> frames --ClipEncoder, at a quality that Rate allows--> Writer --> CodedClip
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edge_client.coding.clip_encoder import Array, ClipEncoder, Coded
from edge_client.coding.coded_clip import CodedClip, SentFrame
from edge_client.coding.encoder import Analysed
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.clips import Pick, Shot, shots
from edge_client.pictures.images import long_side
from shared.bitstream import MAX_QUALITY_CODE, Bitstream, Limits
from shared.errors import PictureTooLarge, UsageError
from shared.frames import Header, Writer

TICKS: Final = 1000  # of a second
KEY_EVERY: Final = 60  # frames
BURST: Final = 2.0  # seconds of a rate that may be spent at once
OCTAVE: Final = 40  # quality codes that about double a frame
STEP_UP: Final = 4  # quality codes
AROUND: Final = 12  # bytes of a frame that are no payload
MOST_TRIES: Final = 5
MOST_WITHIN: Final = 64  # frames of a clip that is fitted to a budget: each is coded several times


@dataclass(frozen=True)
class ClipOptions:
    """How clips are coded.

    on_change: leave out frames that show what the one before did. every: frames from one keyframe
    to the next, at most. rate: bytes a second of the clip. budget: bytes of the whole clip.
    """

    pick: Pick = field(default_factory=Pick)
    on_change: bool = False
    every: int = KEY_EVERY
    rate: float | None = None
    budget: int | None = None


@dataclass(frozen=True)
class ClipSource:
    """A clip to be coded: a file, a folder of frames, a camera's device; and how."""

    source: str
    options: ClipOptions = field(default_factory=ClipOptions)


class ClipCoder:
    """Codes clips with what a `PictureCoder` codes pictures with.

    watch: is shown each frame that is sent.
    """

    def __init__(
        self,
        pictures: PictureCoder,
        options: ClipOptions | None = None,
        watch: Callable[[Shot, Coded, SentFrame], None] | None = None,
    ) -> None:
        self._pictures = pictures
        self.options = options or ClipOptions()
        self._watch = watch

    def __call__(self, clip: ClipSource) -> CodedClip:
        """As `encode`."""
        return self.encode(clip.source)

    def encode(self, source: str) -> CodedClip:
        """The stream of a clip: a file, a folder of frames, a camera's device.

        Raises PictureError, or UsageError for what cannot be had.
        """
        options, encoder = self.options, self._pictures.encoder
        model = self._pictures.served_resolution or encoder.bundle.manifest.resolution
        frames = shots(source, options.pick, long_side(self._pictures.resolution, model))
        quality = self._pictures.quality
        code = round(20 * (encoder.bundle.manifest.quality if quality is None else quality))
        if options.budget is not None:
            return self._within(source, list(_at_most(frames, MOST_WITHIN, source)), options.budget)
        made: _Making | None = None
        for shot in frames:
            if made is None:
                made = self._begin(shot, code)
            made.add(shot)
        if made is None:
            raise UsageError(f"{source} has no frame")
        return made.clip()

    def _begin(self, shot: Shot, code: int) -> _Making:
        height, width = shot.picture.shape[:2]
        if width * height > Limits().pixels:
            raise PictureTooLarge(
                f"frames of {width}x{height} pixels are over the limit of {Limits().pixels}",
                hint="lower --resolution",
            )
        encoder = self._pictures.encoder
        header = Header(encoder.bundle.codec_id, width, height, self.options.every, TICKS)
        clips = ClipEncoder(encoder, header, self._pictures.guidance)
        return _Making(clips, code, self.options, self._watch)

    def _within(self, source: str, frames: list[Shot], budget: int) -> CodedClip:
        """The best quality at which the whole clip fits."""
        low, high, best = 0, MAX_QUALITY_CODE, None
        analysed: list[Analysed] = []
        smallest = 0
        code = low
        while low <= high:
            made = self._begin(frames[0], code)
            for number, shot in enumerate(frames):
                if len(analysed) <= number:
                    analysed.append(made.clips.analyse(shot.picture))
                made.add(shot, analysed[number])
            if made.size <= budget:
                best, low = made, code + 1
            else:
                if code == 0:
                    smallest = made.size
                high = code - 1
            code = (low + high + 1) // 2
        if best is None:
            raise UsageError(
                f"{source} does not fit into {budget} bytes: the smallest stream of its "
                f"{len(frames)} frames has {smallest}",
                hint="raise the budget, take fewer --frames or lower --resolution",
            )
        return best.clip()


class _Making:
    """A clip that grows."""

    def __init__(
        self,
        clips: ClipEncoder,
        code: int,
        options: ClipOptions,
        watch: Callable[[Shot, Coded, SentFrame], None] | None,
    ) -> None:
        self.clips = clips
        self.frames: list[SentFrame] = []
        self._writer = Writer(clips.header)
        self._data = bytearray(self._writer.head)
        self._rate, self._on_change, self._watch = options.rate, options.on_change, watch
        self._best = self._code = code
        self._last = -1

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._data)

    def clip(self) -> CodedClip:
        """What has become of it."""
        return CodedClip(self.clips.header, bytes(self._data), tuple(self.frames))

    def add(self, shot: Shot, analysed: Analysed | None = None) -> None:
        """Code the next frame, and keep it unless nothing changed or no byte is left for it."""
        time = max(round(shot.time * TICKS), self._last + 1)
        analysed = analysed or self.clips.analyse(shot.picture)
        moved = self.clips.moved(analysed)
        if self.frames and self._on_change and not moved.any():
            return
        coded = self._affordable(analysed, moved, shot.time)
        if coded is None:
            return
        data = self._writer.add(coded.body, time)
        self.clips.take(analysed, coded)
        is_key = isinstance(coded.body, Bitstream)
        sent = SentFrame(time, len(data), is_key, float(coded.moved.mean()))
        self.frames.append(sent)
        if self._watch is not None:
            self._watch(shot, coded, sent)
        self._data += data
        self._last = time

    def _affordable(self, analysed: Analysed, moved: Array, seconds: float) -> Coded | None:
        """The frame at the best quality that the rate leaves bytes for; None for not at all.

        The first is sent whatever it takes.
        """
        if self._rate is None:
            return self.clips.code(analysed, moved, self._code)
        allowed = self._rate * (seconds + BURST) - self.size
        for _ in range(MOST_TRIES):
            coded = self.clips.code(analysed, moved, self._code)
            size = _size(coded)
            if size <= allowed:
                # Half of what is saved up is a reason to try better again.
                spare = allowed - size > self._rate * BURST / 2
                self._code = min(self._best, self._code + (STEP_UP if spare else 0))
                return coded
            if self._code == 0:
                break
            over = math.log2(size / max(allowed, 1.0))
            self._code = max(0, self._code - math.ceil(OCTAVE * over))
        return None if self.frames else coded


def _size(coded: Coded) -> int:
    """Bytes of a frame, about: what is around its payload included."""
    body = coded.body
    if isinstance(body, Bitstream):
        return len(body.to_bytes()) + AROUND
    return AROUND + (0 if body is None else len(body.plane) + len(body.latents) + 4)


def _at_most(frames: Iterator[Shot], most: int, source: str) -> Iterator[Shot]:
    for number, shot in enumerate(frames):
        if number == most:
            raise UsageError(
                f"{source} has more than {most} frames, which is most for a budget",
                hint="--rate takes any number of frames",
            )
        yield shot
