"""An enhancement: the bytes that make some cells of a coded picture finer. docs/bitstream.md is the
specification.

    magic    2  C7 45
    version  1  that of the bitstream
    base     2  little-endian; the check of the stream or enhancement that it continues
    quality  1  0..180, twentieths of a quality step, of the cells
    price    1  of a bit, at which the base was coded, in sixteenths of the usual; 0: not given
    check    2  little-endian; CRC-32 of the decoded symbols, lowest 16 bits
    cells    v  length and payload: which they are; empty for the whole picture
    latents  v  length and payload
    crc      4  little-endian; CRC-32 of everything before

Enhancements follow their stream in one file, as they are: each end of one is that of a picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.bitstream import ENHANCEMENT_MAGIC as MAGIC
from shared.bitstream import MAGIC as STREAM_MAGIC
from shared.bitstream import MAX_QUALITY_CODE, VERSION, Bitstream, Limits, check_head, stream_end
from shared.coding.cursor import Cursor, check_range, varint
from shared.errors import (
    StreamCorrupt,
    StreamError,
    StreamForeign,
    StreamMalformed,
    StreamTooLarge,
    StreamTruncated,
)

MAX_LAYERS: Final = 16
"""Of a file, the stream among them: each takes time, whatever its size."""
_CRC_BYTES: Final = 4
_FIXED_BYTES: Final = len(MAGIC) + 1
_LENGTH_BYTES: Final = 5


@dataclass(frozen=True)
class Enhancement:
    """What makes some cells of a picture finer.

    base: the check of what it continues, 0..65535. quality_code: 0..180, of the cells.
    price_before: 0..255, as for `EntropyModel.read`. check: as of a stream. cells: payload of
    `shared.layers.cells`, empty for the whole picture. latents: ANS payload.
    """

    base: int
    quality_code: int
    price_before: int
    check: int
    cells: bytes
    latents: bytes

    @property
    def quality(self) -> float:
        """Quality 0..9."""
        return self.quality_code / 20

    def to_bytes(self) -> bytes:
        """The bytes that travel. Raises StreamMalformed for a field outside its range."""
        check_range("base", self.base, 0, 0xFFFF)
        check_range("quality", self.quality_code, 0, MAX_QUALITY_CODE)
        check_range("price", self.price_before, 0, 0xFF)
        check_range("check", self.check, 0, 0xFFFF)
        out = MAGIC + bytes([VERSION]) + self.base.to_bytes(2, "little")
        out += bytes([self.quality_code, self.price_before]) + self.check.to_bytes(2, "little")
        for payload in (self.cells, self.latents):
            out += varint(len(payload)) + payload
        return out + zlib.crc32(out).to_bytes(_CRC_BYTES, "little")

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits | None = None) -> Enhancement:
        """Parse an enhancement. Raises the StreamError that fits."""
        limits = limits or Limits()
        _check_frame(data, limits)
        cursor = Cursor(data, _FIXED_BYTES, len(data) - _CRC_BYTES)
        base = int.from_bytes(cursor.take(2, "base"), "little")
        quality_code = cursor.byte("quality")
        check_range("quality", quality_code, 0, MAX_QUALITY_CODE)
        price_before = cursor.byte("price")
        check = int.from_bytes(cursor.take(2, "check"), "little")
        cells = _payload(cursor, "cells", limits)
        latents = _payload(cursor, "latents", limits)
        if cursor.at < cursor.end:
            raise StreamMalformed("the enhancement goes on behind its latents")
        return cls(base, quality_code, price_before, check, cells, latents)


def read_layers(
    data: bytes, limits: Limits | None = None
) -> tuple[Bitstream, tuple[Enhancement, ...]]:
    """A stream and the enhancements behind it. Raises the StreamError that fits.

    Whether each continues the one before is found out where they are decoded.
    """
    limits = limits or Limits()
    first, *others = split_layers(data, limits)
    stream = Bitstream.from_bytes(first, limits)
    return stream, tuple(Enhancement.from_bytes(each, limits) for each in others)


def split_layers(data: bytes, limits: Limits | None = None) -> list[bytes]:
    """The bytes of a stream and of each enhancement behind it; what is damaged stays in one piece.

    Raises StreamTooLarge over the limits.
    """
    limits = limits or Limits()
    if len(data) > limits.stream_bytes:
        raise StreamTooLarge(
            f"the stream has {len(data)} bytes, over the limit of {limits.stream_bytes}"
        )
    layers: list[bytes] = []
    for start, end in _ends(data):
        if len(layers) == MAX_LAYERS:
            raise StreamTooLarge(f"the stream has more than {MAX_LAYERS} layers")
        layers.append(data[start:end])
    return layers


def _ends(data: bytes) -> Iterator[tuple[int, int]]:
    start, end = 0, stream_end(data)
    yield start, end
    while end < len(data):
        start, end = end, _enhancement_end(data, end)
        yield start, end


def _enhancement_end(data: bytes, start: int) -> int:
    """Where the enhancement that begins there ends; with the data where that is not said."""
    cursor = Cursor(data, start + _FIXED_BYTES + 6, len(data) - _CRC_BYTES)
    try:
        for name in ("cells", "latents"):
            cursor.take(cursor.varint(name, _LENGTH_BYTES), name)
    except StreamError:
        return len(data)
    return cursor.at + _CRC_BYTES


def _check_frame(data: bytes, limits: Limits) -> None:
    """Magic, version, size and CRC."""
    if not data:
        raise StreamTruncated("the enhancement is empty")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        is_picture = data.startswith(STREAM_MAGIC)
        raise StreamForeign(
            "these bytes are a whole stream, no enhancement"
            if is_picture
            else "these bytes are not a CoTAM enhancement",
            hint="an enhancement continues a stream that was sent before",
        )
    check_head("enhancement", data, _FIXED_BYTES, limits)
    if zlib.crc32(data[:-_CRC_BYTES]) != int.from_bytes(data[-_CRC_BYTES:], "little"):
        raise StreamCorrupt(
            "the enhancement was cut or changed on its way: its CRC does not match",
            hint="send it again",
        )


def _payload(cursor: Cursor, name: str, limits: Limits) -> bytes:
    length = cursor.varint(f"length of {name}", _LENGTH_BYTES)
    if length > limits.chunk_bytes:
        raise StreamTooLarge(
            f"{name} of an enhancement have {length} bytes, over the limit of {limits.chunk_bytes}"
        )
    return cursor.take(length, name)
