"""The container: bytes and nothing else. docs/bitstream.md is its specification.

    magic   2  C7 54
    version 1  5
    codec   4  what decodes the stream, as `Manifest.codec_id` in shared/bundle.py names it
    width   v  pixels, 1..65535         (v: varint, 7 bits a byte, lowest first, at most 3 bytes)
    height  v
    quality 1  0..180, twentieths of a quality step
    check   2  little-endian; CRC-32 of the decoded symbols, lowest 16 bits
    chunks     type 1, length v (at most 5 bytes), payload; types in rising order, each once
    crc     4  little-endian; CRC-32 of everything before

Chunk types below 128 must be understood by a reader, others may be skipped. Every read is bounded
by the bytes that are there; sizes are checked against `Limits` before anything is allocated.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass
from typing import Final

from shared.coding.cursor import Cursor, check_range, varint
from shared.errors import (
    StreamCorrupt,
    StreamError,
    StreamForeign,
    StreamMalformed,
    StreamTooLarge,
    StreamTruncated,
    StreamUnknownChunk,
    StreamVersion,
)

MAGIC: Final = b"\xc7T"
ENHANCEMENT_MAGIC: Final = b"\xc7E"
VERSION: Final = 5
CODEC_ID_BYTES: Final = 4
MAX_SIDE: Final = 65_535
MAX_QUALITY_CODE: Final = 180
CHUNK_LEVEL_MAP: Final = 1
CHUNK_LATENTS: Final = 2
FIRST_OPTIONAL_CHUNK: Final = 128
MEDIA_TYPE: Final = "application/vnd.cotam"
SUFFIX: Final = ".cotam"

_CRC_BYTES = 4
_FIXED_BYTES = len(MAGIC) + 1 + CODEC_ID_BYTES


@dataclass(frozen=True)
class Limits:
    """What a reader accepts: picture area in pixels, stream and chunk sizes in bytes."""

    pixels: int = 64_000_000
    stream_bytes: int = 64 << 20
    chunk_bytes: int = 32 << 20


@dataclass(frozen=True)
class Bitstream:
    """One coded picture.

    codec_id: 4 bytes. width, height: pixels. quality_code: 0..180. check: 0..65535.
    level_map: payload of that chunk, empty where every cell has the same quality.
    latents: ANS payload of hyper latent and latent. extras: optional chunks, (type, payload).
    """

    codec_id: bytes
    width: int
    height: int
    quality_code: int
    check: int
    level_map: bytes
    latents: bytes
    extras: tuple[tuple[int, bytes], ...] = ()

    @property
    def quality(self) -> float:
        """Quality 0..9."""
        return self.quality_code / 20

    def to_bytes(self) -> bytes:
        """The stream. Raises StreamMalformed for a field outside its range."""
        if len(self.codec_id) != CODEC_ID_BYTES:
            raise StreamMalformed(f"a codec id has {CODEC_ID_BYTES} bytes")
        check_range("width", self.width, 1, MAX_SIDE)
        check_range("height", self.height, 1, MAX_SIDE)
        check_range("quality", self.quality_code, 0, MAX_QUALITY_CODE)
        check_range("check", self.check, 0, 0xFFFF)
        kinds = [FIRST_OPTIONAL_CHUNK - 1, *(kind for kind, _ in self.extras), 256]
        if any(a >= b for a, b in itertools.pairwise(kinds)):
            raise StreamMalformed(
                f"extra chunks need types {FIRST_OPTIONAL_CHUNK}..255 in rising order, each once"
            )
        out = bytearray(MAGIC)
        out.append(VERSION)
        out += self.codec_id
        out += varint(self.width) + varint(self.height)
        out.append(self.quality_code)
        out += self.check.to_bytes(2, "little")
        known = [(CHUNK_LATENTS, self.latents)]
        if self.level_map:
            known.insert(0, (CHUNK_LEVEL_MAP, self.level_map))
        for kind, payload in (*known, *self.extras):
            out.append(kind)
            out += varint(len(payload)) + payload
        out += zlib.crc32(out).to_bytes(_CRC_BYTES, "little")
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits | None = None) -> Bitstream:
        """Parse a stream. Raises the StreamError that fits."""
        limits = limits or Limits()
        reader = _Reader(data, limits)
        width = reader.side("width")
        height = reader.side("height")
        if width * height > limits.pixels:
            raise StreamTooLarge(
                f"the stream holds a picture of {width}x{height}, over the limit of "
                f"{limits.pixels} pixels",
                hint="send a smaller picture",
            )
        quality_code = reader.byte("quality")
        check_range("quality", quality_code, 0, MAX_QUALITY_CODE)
        check = int.from_bytes(reader.take(2, "check"), "little")
        level_map, latents = b"", None
        extras = []
        for kind, payload in reader.chunks():
            if kind == CHUNK_LEVEL_MAP:
                if not payload:
                    raise StreamMalformed("the level map is empty: a flat one is left out")
                level_map = payload
            elif kind == CHUNK_LATENTS:
                latents = payload
            elif kind >= FIRST_OPTIONAL_CHUNK:
                extras.append((kind, payload))
            else:
                raise StreamUnknownChunk(
                    f"the stream needs chunk type {kind}, which this version does not know",
                    hint="update the reader",
                )
        if latents is None:
            raise StreamMalformed("the stream has no latents")
        return cls(
            reader.codec_id, width, height, quality_code, check, level_map, latents, tuple(extras)
        )


def stream_end(data: bytes) -> int:
    """Where the stream ends that `data` begins with, if an enhancement follows; else all of it.

    It ends behind the first CRC of all before it that stands where a chunk could, the latents read.
    """
    end = len(data) - _CRC_BYTES
    if not data.startswith(MAGIC) or zlib.crc32(data[:end]) == int.from_bytes(data[end:], "little"):
        return len(data)
    cursor, last, crc, checked = Cursor(data, _FIXED_BYTES, end), -1, 0, 0
    try:
        for side in ("width", "height"):
            cursor.varint(side, 3)
        cursor.take(3, "quality and check")
        while (kind := cursor.byte("chunk type")) > last:
            cursor.take(cursor.varint("chunk length", 5), "chunk")
            crc, checked, last = zlib.crc32(data[checked : cursor.at], crc), cursor.at, kind
            stored_crc = int.from_bytes(data[checked : checked + _CRC_BYTES], "little")
            behind = checked + _CRC_BYTES
            if kind >= CHUNK_LATENTS and stored_crc == crc:
                return behind if data.startswith(ENHANCEMENT_MAGIC, behind) else len(data)
    except StreamError:
        pass
    return len(data)


def check_head(name: str, data: bytes, head: int, limits: Limits) -> None:
    """Size, version and length of a stream, or of what continues one, by its name in messages.

    head: bytes before the first field that is read one after the other. Raises StreamTooLarge,
    StreamVersion or StreamTruncated.
    """
    if len(data) > limits.stream_bytes:
        raise StreamTooLarge(
            f"the {name} has {len(data)} bytes, over the limit of {limits.stream_bytes}"
        )
    if len(data) > len(MAGIC) and (version := data[len(MAGIC)]) != VERSION:
        raise StreamVersion(
            f"the {name} has version {version}, this reader knows {VERSION}",
            hint="update the reader" if version > VERSION else "encode the picture again",
        )
    if len(data) < head + _CRC_BYTES:
        raise StreamTruncated(f"the {name} ends after {len(data)} bytes, inside its header")


class _Reader(Cursor):
    """A bounded cursor over the body of a stream whose frame (magic, version, CRC) is sound."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        if not data:
            raise StreamTruncated("the stream is empty")
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise StreamForeign(
                "these bytes are not a CoTAM stream", hint="encode a picture with edge_client"
            )
        check_head("stream", data, _FIXED_BYTES, limits)
        super().__init__(data, _FIXED_BYTES, len(data) - _CRC_BYTES)
        self._limits = limits
        if zlib.crc32(data[: self.end]) != int.from_bytes(data[self.end :], "little"):
            if (end := stream_end(data)) < len(data):
                raise StreamMalformed(
                    "layers follow the stream, where one alone is taken",
                    hint=f"its first {end} bytes are a stream",
                )
            raise StreamCorrupt(
                "the stream was cut or changed on its way: its CRC does not match",
                hint="send it again",
            )
        self.codec_id = data[len(MAGIC) + 1 : _FIXED_BYTES]

    def side(self, what: str) -> int:
        value = self.varint(what, 3)
        check_range(what, value, 1, MAX_SIDE)
        return value

    def chunks(self) -> list[tuple[int, bytes]]:
        chunks: list[tuple[int, bytes]] = []
        while self.at < self.end:
            kind = self.byte("chunk type")
            if chunks and kind <= chunks[-1][0]:
                raise StreamMalformed(f"chunk type {kind} is out of order")
            length = self.varint("chunk length", 5)
            if length > self._limits.chunk_bytes:
                raise StreamTooLarge(
                    f"chunk type {kind} has {length} bytes, over the limit of "
                    f"{self._limits.chunk_bytes}"
                )
            chunks.append((kind, self.take(length, f"chunk of type {kind}")))
        return chunks
