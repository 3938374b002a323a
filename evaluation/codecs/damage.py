"""Ways to damage streams and enhancements, from a seed: what noise, cuts and ill will make of good
ones."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.bitstream import MAGIC, MAX_QUALITY_CODE, MAX_SIDE, VERSION, Bitstream
from shared.layers.enhancement import Enhancement

Chance = np.random.Generator
CRC_BYTES = 4
FIXED_BYTES = len(MAGIC) + 1 + 4
LONGEST = 64


@dataclass(frozen=True)
class Case:
    """Bytes to be read, and onto which picture where they continue one."""

    data: bytes
    base: int = 0

    def __str__(self) -> str:
        return f"{self.base}: {self.data.hex()}"


def damaged(streams: Sequence[bytes], chance: Chance) -> bytes:
    """One of the good streams, damaged in one to three ways; under a right CRC more often than not.

    Without a right CRC every damage ends there, and nothing behind it would be tried. For the same
    reason the container stays sound in four of ten.
    """
    data = streams[chance.integers(len(streams))]
    other = streams[chance.integers(len(streams))]
    if chance.random() < 0.4:
        return _payloads(data, other, chance)
    for _ in range(int(chance.integers(1, 4))):
        way = WAYS[chance.integers(len(WAYS))]
        data = way(data, other, chance)
    return sealed(data[:-CRC_BYTES]) if chance.random() < 0.7 else data


def damaged_enhancement(enhancements: Sequence[bytes], chance: Chance) -> tuple[bytes, int]:
    """Likewise one of the good enhancements, and its number."""
    number = int(chance.integers(len(enhancements)))
    data, other = enhancements[number], enhancements[chance.integers(len(enhancements))]
    if chance.random() < 0.5:
        return _fields(data, other, chance), number
    for _ in range(int(chance.integers(1, 4))):
        data = INSIDE[chance.integers(len(INSIDE))](data, other, chance)
    return (sealed(data[:-CRC_BYTES]) if chance.random() < 0.7 else data), number


def sealed(body: bytes) -> bytes:
    """A body with its CRC."""
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def _flip(data: bytes, _: bytes, chance: Chance) -> bytes:
    out = bytearray(data)
    for _flipped in range(int(chance.integers(1, 9)) if out else 0):
        out[chance.integers(len(out))] ^= 1 << int(chance.integers(8))
    return bytes(out)


def _overwrite(data: bytes, _: bytes, chance: Chance) -> bytes:
    at = int(chance.integers(len(data) + 1))
    return data[:at] + _noise(chance) + data[at + LONGEST :]


def _cut(data: bytes, _: bytes, chance: Chance) -> bytes:
    return data[: chance.integers(len(data) + 1)]


def _drop(data: bytes, _: bytes, chance: Chance) -> bytes:
    start, stop = _range(data, chance)
    return data[:start] + data[stop:]


def _repeat(data: bytes, _: bytes, chance: Chance) -> bytes:
    start, stop = _range(data, chance)
    return data[:stop] + data[start:stop] * int(chance.integers(1, 5)) + data[stop:]


def _splice(data: bytes, other: bytes, chance: Chance) -> bytes:
    return data[: chance.integers(len(data) + 1)] + other[chance.integers(len(other) + 1) :]


def _header(data: bytes, _: bytes, chance: Chance) -> bytes:
    """A header that claims any size, quality and check for what follows."""
    sides = b"".join(_varint(_side(chance), chance) for _ in range(2))
    quality = int(chance.integers(256) if chance.random() < 0.2 else chance.integers(181))
    version = VERSION if chance.random() < 0.95 else int(chance.integers(256))
    rest = data[FIXED_BYTES + 5 :]
    head = MAGIC + bytes([version]) + data[3:FIXED_BYTES] + sides + bytes([quality])
    return head + chance.bytes(2) + rest


def _chunks(data: bytes, _: bytes, chance: Chance) -> bytes:
    """Chunks of any type that claim any length, right behind a good header or at the end."""
    made = b""
    for _chunk in range(int(chance.integers(1, 6))):
        payload = _noise(chance)
        claimed = len(payload) if chance.random() < 0.5 else int(2.0 ** chance.uniform(0, 34))
        kind = int(chance.choice([0, 1, 2, 3, 127, 128, 200, 255]))
        made += bytes([kind]) + _varint(claimed, chance) + payload
    at = FIXED_BYTES + int(chance.integers(4, 10))
    return data[:at] + made + data[at if chance.random() < 0.5 else len(data) - CRC_BYTES :]


def _payloads(data: bytes, other: bytes, chance: Chance) -> bytes:
    """A sound container of a good stream whose payloads are damaged, its fields sometimes, too."""
    good = Bitstream.from_bytes(data)
    inside_latents = chance.random() < 0.6
    way = INSIDE[chance.integers(len(INSIDE))]
    if inside_latents:
        bad = replace(good, latents=way(good.latents or _noise(chance), other, chance))
    else:
        bad = replace(good, level_map=way(good.level_map or _noise(chance), other, chance))
    if chance.random() < 0.3:
        bad = replace(bad, width=_side(chance), height=_side(chance))
    if chance.random() < 0.3:
        bad = replace(bad, quality_code=int(chance.integers(181)))
    return bad.to_bytes()


def _fields(data: bytes, other: bytes, chance: Chance) -> bytes:
    """A sound enhancement of damaged payloads, or of cells of another; its quality sometimes."""
    good, strange = Enhancement.from_bytes(data), Enhancement.from_bytes(other)
    way = INSIDE[chance.integers(len(INSIDE))]
    kind = chance.random()
    if kind < 0.5:
        bad = replace(good, latents=way(good.latents or _noise(chance), other, chance))
    elif kind < 0.8:
        bad = replace(good, cells=way(good.cells or _noise(chance), other, chance))
    else:
        bad = replace(good, cells=strange.cells)
    if chance.random() < 0.2:
        bad = replace(bad, quality_code=int(chance.integers(MAX_QUALITY_CODE + 1)))
    if chance.random() < 0.2:
        bad = replace(bad, price_before=int(chance.integers(256)))
    return bad.to_bytes()


INSIDE: Final = (_flip, _flip, _overwrite, _cut, _drop, _repeat, _splice)
WAYS: Final = (*INSIDE, _header, _chunks)


def _noise(chance: Chance) -> bytes:
    return chance.bytes(int(chance.integers(LONGEST)))


def _range(data: bytes, chance: Chance) -> tuple[int, int]:
    start = int(chance.integers(len(data) + 1))
    return start, min(len(data), start + int(chance.integers(LONGEST)))


def _side(chance: Chance) -> int:
    """Mostly small, for a large picture takes long and is refused by its area."""
    return min(MAX_SIDE, int(2.0 ** chance.uniform(0, 8 if chance.random() < 0.9 else 16)))


def _varint(value: int, chance: Chance) -> bytes:
    """A varint, one in ten padded to more bytes than it needs."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if chance.random() < 0.1:
        out[-1] |= 0x80
        out += b"\x80" * int(chance.integers(4)) + b"\0"
    return bytes(out)
