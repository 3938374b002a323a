"""A clip: frames one after the other. Bytes and nothing else; docs/frames.md is its specification.

    magic   2  C7 46
    version 1  1
    codec   4  as in a picture's stream
    width   v  pixels, 1..65535
    height  v
    every   v  1..65535: one frame in so many is a keyframe, at least
    ticks   v  1..1,000,000 of them are a second
    crc     4  little-endian; CRC-32 of everything before
    base    7  42, check 4, crc 2; only where the first frame continues one that the reader kept
    frames     kind 1, length v, number, time, payload, crc 2 (CRC-32, lowest 16 bits)

A keyframe holds the stream of a picture as it is; its number and time count from the first frame.
Other frames continue the one before and count from there; the first may continue a frame that the
reader kept of an earlier clip. Where bytes were changed or are missing,
a reader says so and goes on at the next keyframe that is sound.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from shared.bitstream import (
    CODEC_ID_BYTES,
    MAX_QUALITY_CODE,
    MAX_SIDE,
    Bitstream,
    Limits,
)
from shared.bitstream import MAGIC as PICTURE_MAGIC
from shared.coding.cursor import Cursor, check_range, varint
from shared.errors import (
    StreamCorrupt,
    StreamError,
    StreamForeign,
    StreamMalformed,
    StreamTooLarge,
    StreamTruncated,
    StreamVersion,
)

MAGIC: Final = b"\xc7F"
VERSION: Final = 1
MEDIA_TYPE: Final = "application/vnd.cotam-frames"
SUFFIX: Final = ".cotamf"
MAX_EVERY: Final = 65_535
MAX_TICKS: Final = 1_000_000
MAX_FRAMES: Final = (1 << 28) - 1
MAX_TIME: Final = (1 << 42) - 1  # ticks: 50 days in millionths of a second
KEY: Final = 0x4B
CONTINUING: Final = 0x43
RENEWING: Final = 0x48
BASE: Final = 0x42

_KINDS: Final = (KEY, CONTINUING, RENEWING)
_CRC_BYTES: Final = 2
_BASE_BYTES: Final = 5 + _CRC_BYTES
_NUMBER_BYTES: Final = 4
_TIME_BYTES: Final = 6
_SEARCH: Final = 4
"""Times the bytes of a clip that a reader looks at in search of sound keyframes, at most."""


@dataclass(frozen=True)
class Header:
    """What all frames of a clip have in common.

    codec_id: 4 bytes. width, height: pixels. every: frames from one keyframe to the next, at most.
    ticks: of times, in a second.
    """

    codec_id: bytes
    width: int
    height: int
    every: int
    ticks: int = 1000

    def to_bytes(self) -> bytes:
        """The head of a clip. Raises StreamMalformed for a field outside its range."""
        if len(self.codec_id) != CODEC_ID_BYTES:
            raise StreamMalformed(f"a codec id has {CODEC_ID_BYTES} bytes")
        _check_header(self)
        out = MAGIC + bytes([VERSION]) + self.codec_id
        out += varint(self.width) + varint(self.height) + varint(self.every) + varint(self.ticks)
        return out + zlib.crc32(out).to_bytes(4, "little")


@dataclass(frozen=True)
class Changes:
    """What changed since the frame before.

    quality_code: 0..180 of the latents that are coded. check: 0..65535, of the symbols of all.
    renews: the frame has a hyper latent of its own. plane: which latents are coded, empty for all
    of them. latents: ANS payload.
    """

    quality_code: int
    check: int
    renews: bool
    plane: bytes
    latents: bytes


Body = Bitstream | Changes | None
"""A keyframe, what changed since the frame before, or that nothing did."""


@dataclass(frozen=True)
class Frame:
    """A frame: its number from 0, its time in ticks since the clip began, the bytes it took."""

    number: int
    time: int
    body: Body
    size: int = field(default=0, compare=False)

    @property
    def is_key(self) -> bool:
        """Whether it needs no other."""
        return isinstance(self.body, Bitstream)


@dataclass(frozen=True)
class Loss:
    """Frames that cannot be read: numbers `first` to `last`, None where nothing follows them."""

    first: int
    last: int | None
    error: StreamError

    @property
    def count(self) -> int | None:
        """How many; None where nobody knows."""
        return None if self.last is None else self.last - self.first + 1


class Writer:
    """Makes the bytes of a clip, a frame at a time: `head`, then what `add` returns.

    base: check of what the reader knows already (`FrameWalk.check`), u32, which the first frame
    continues. Times count from that, at least 1.
    """

    def __init__(self, header: Header, base: int | None = None) -> None:
        self.header = header
        self.head = header.to_bytes()
        self.count = 0
        self._time = -1
        self._based = base is not None
        if base is not None:
            record = bytes([BASE]) + base.to_bytes(4, "little")
            self.head += record + _crc(record)
            self._time = 0

    def add(self, body: Body, time: int) -> bytes:
        """The next frame, `time` ticks after the clip began; times rise.

        Raises StreamMalformed for a frame that cannot stand there.
        """
        check_range("time", time, self._time + 1, MAX_TIME)
        check_range("frame's number", self.count, 0, MAX_FRAMES)
        if isinstance(body, Bitstream):
            kind, payload = KEY, body.to_bytes()
            place = varint(self.count) + varint(time)
            _check_belongs(body, self.header)
        else:
            if self.count == 0 and not self._based:
                raise StreamMalformed("a clip begins with a keyframe")
            kind = RENEWING if body is not None and body.renews else CONTINUING
            payload = b"" if body is None else _changes_bytes(body)
            place = bytes([self.count & 0xFF]) + varint(time - self._time)
        out = bytes([kind]) + varint(len(payload)) + place + payload
        self._time, self.count = time, self.count + 1
        return out + _crc(out)


def read_header(data: bytes, limits: Limits | None = None) -> Header:
    """The head of a clip. Raises the StreamError that fits."""
    return _read_head(data, limits or Limits())[0]


def read_base(data: bytes, limits: Limits | None = None) -> int | None:
    """The check of what the first frame continues; None where it continues nothing.

    None, too, where that was changed: it is lost then, as a frame is. Raises as `read_header`.
    """
    at = _read_head(data, limits or Limits())[1]
    record, crc = data[at : at + 5], data[at + 5 : at + _BASE_BYTES]
    if record[:1] != bytes([BASE]) or _crc(record) != crc:
        return None
    return int.from_bytes(record[1:], "little")


def read_frames(data: bytes, limits: Limits | None = None) -> Iterator[Frame | Loss]:
    """The frames of a clip in their order, and what of it is lost. Raises as `read_header`.

    A clip's last loss has no end; one that was cut between two frames shows none.
    """
    limits = limits or Limits()
    header, at = _read_head(data, limits)
    base = read_base(data, limits)
    start = at if base is None else at + _BASE_BYTES
    return _Frames(data, start, header, limits, based=base is not None).all()


class _Frames:
    """Reads frames from `at` on; after damage it looks for a keyframe."""

    def __init__(
        self, data: bytes, at: int, header: Header, limits: Limits, *, based: bool
    ) -> None:
        self._data, self._at, self._header, self._limits = data, at, header, limits
        self._based = based
        self._view = memoryview(data)
        self._left = _SEARCH * len(data)
        self._number, self._time = 0, 0 if based else -1

    def all(self) -> Iterator[Frame | Loss]:
        error: StreamError | None = None
        while self._at < len(self._data):
            try:
                frame, end = self._frame(self._at, searching=error is not None)
            except StreamError as problem:
                error = error or problem
                self._at = self._next_key(self._at + 1) if self._left >= 0 else len(self._data)
                continue
            self._at = end
            if error is None and self._follows(frame):
                yield self._accept(frame)
            elif frame.is_key and frame.number >= self._number and frame.time > self._time:
                if frame.number > self._number:
                    yield Loss(self._number, frame.number - 1, error or _gap(self._number))
                error = None
                yield self._accept(frame)
            else:
                error = error or _gap(self._number)
        if error is not None:
            yield Loss(self._number, None, error)

    def _follows(self, frame: Frame) -> bool:
        return (
            frame.number == self._number
            and frame.time > self._time
            and (frame.is_key or self._number > 0 or self._based)
        )

    def _accept(self, frame: Frame) -> Frame:
        self._number, self._time = frame.number + 1, frame.time
        return frame

    def _next_key(self, at: int) -> int:
        key_at = self._data.find(KEY, at)
        return len(self._data) if key_at < 0 else key_at

    def _frame(self, at: int, searching: bool) -> tuple[Frame, int]:
        """The frame at a place, and where it ends.

        After a loss, a frame that continues is read with the number and time that are known, which
        nobody uses.
        """
        cursor = Cursor(self._data, at, len(self._data))
        kind = cursor.byte("frame")
        if kind not in _KINDS:
            raise StreamCorrupt("a frame was changed on its way: it is of no known kind")
        length = cursor.varint("frame's length", 5)
        if length > self._limits.chunk_bytes:
            raise StreamTooLarge(
                f"a frame has {length} bytes, over the limit of {self._limits.chunk_bytes}"
            )
        if kind == KEY:
            number = cursor.varint("frame's number", _NUMBER_BYTES)
            time = cursor.varint("frame's time", _TIME_BYTES)
        else:
            step = (cursor.byte("frame's number") - self._number) & 0xFF
            number = self._number + step
            later = cursor.varint("frame's time", _TIME_BYTES)
            check_range("frame's time", later, 1, MAX_TIME)
            time = max(self._time, 0) + later
        start, end = cursor.at, cursor.at + length
        if kind == KEY and not self._data.startswith(PICTURE_MAGIC, start, end):
            raise StreamCorrupt("a frame was changed on its way: it holds no picture")
        if end + _CRC_BYTES > len(self._data):
            raise StreamTruncated("the clip ends inside a frame")
        if searching:
            # Hostile bytes name keyframes everywhere: what is looked at has to end somewhere.
            self._left -= end - at
            if self._left < 0:
                raise StreamCorrupt("the clip is damaged in too many places")
        if _crc(self._view[at:end]) != self._view[end : end + _CRC_BYTES]:
            raise StreamCorrupt(
                "a frame was changed on its way: its CRC does not match", hint="send it again"
            )
        payload = self._data[start:end]
        check_range("frame's time", time, 0, MAX_TIME)
        check_range("frame's number", number, 0, MAX_FRAMES)
        body: Body
        if kind == KEY:
            body = Bitstream.from_bytes(payload, self._limits)
            _check_belongs(body, self._header)
        else:
            body = _read_changes(payload, kind == RENEWING) if length or kind == RENEWING else None
        end += _CRC_BYTES
        return Frame(number, time, body, end - at), end


def _gap(number: int) -> StreamError:
    return StreamCorrupt(f"frame {number} of the clip is missing", hint="send it again")


def _read_head(data: bytes, limits: Limits) -> tuple[Header, int]:
    if not data:
        raise StreamTruncated("the clip is empty")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise StreamForeign("these bytes are not a CoTAM clip", hint="encode it with edge_client")
    if len(data) > limits.stream_bytes:
        raise StreamTooLarge(
            f"the clip has {len(data)} bytes, over the limit of {limits.stream_bytes}"
        )
    cursor = Cursor(data, len(MAGIC), len(data))
    if (version := cursor.byte("head")) != VERSION:
        raise StreamVersion(
            f"the clip has version {version}, this reader knows {VERSION}",
            hint="update the reader" if version > VERSION else "encode the clip again",
        )
    codec_id = cursor.take(CODEC_ID_BYTES, "head")
    width, height, every, ticks = (cursor.varint(f"head's {n}", 3) for n in _FIELDS)
    end = cursor.at
    if zlib.crc32(data[:end]).to_bytes(4, "little") != cursor.take(4, "head"):
        raise StreamCorrupt(
            "the clip's head was changed on its way: its CRC does not match", hint="send it again"
        )
    header = Header(codec_id, width, height, every, ticks)
    _check_header(header)
    if width * height > limits.pixels:
        raise StreamTooLarge(
            f"the clip holds frames of {width}x{height}, over the limit of {limits.pixels} pixels",
            hint="send smaller frames",
        )
    return header, cursor.at


_FIELDS: Final = ("width", "height", "keyframe interval", "time base")


def _check_header(header: Header) -> None:
    check_range("width", header.width, 1, MAX_SIDE)
    check_range("height", header.height, 1, MAX_SIDE)
    check_range("keyframe interval", header.every, 1, MAX_EVERY)
    check_range("time base", header.ticks, 1, MAX_TICKS)


def _check_belongs(picture: Bitstream, header: Header) -> None:
    same = (picture.codec_id, picture.width, picture.height)
    if same != (header.codec_id, header.width, header.height):
        raise StreamMalformed("a keyframe is of another codec or size than its clip")


def _changes_bytes(body: Changes) -> bytes:
    check_range("quality", body.quality_code, 0, MAX_QUALITY_CODE)
    check_range("check", body.check, 0, 0xFFFF)
    out = bytes([body.quality_code]) + body.check.to_bytes(2, "little")
    return out + varint(len(body.plane)) + body.plane + body.latents


def _read_changes(payload: bytes, renews: bool) -> Changes:
    cursor = Cursor(payload, 0, len(payload))
    quality_code = cursor.byte("frame's quality")
    check_range("quality", quality_code, 0, MAX_QUALITY_CODE)
    check = int.from_bytes(cursor.take(2, "frame's check"), "little")
    plane = cursor.take(cursor.varint("plane's length", 5), "frame's plane")
    return Changes(quality_code, check, renews, plane, payload[cursor.at :])


def _crc(data: bytes | memoryview) -> bytes:
    return (zlib.crc32(data) & 0xFFFF).to_bytes(_CRC_BYTES, "little")
