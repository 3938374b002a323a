"""docs/frames.md: its example is true, and its text enough to write a second reader.

The reader here follows the page; it shares nothing with `shared.frames`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shared import frames
from shared.bitstream import Bitstream

TEXT = (Path(__file__).parents[2] / "docs" / "frames.md").read_text(encoding="utf-8")


def example() -> bytes:
    lines = TEXT.split("<!-- clip -->\n```text\n", 1)[1].split("```", 1)[0].splitlines()
    return bytes.fromhex("".join(re.split(r"\s{2,}", line)[0] for line in lines))


class Part(NamedTuple):
    """A frame as sections 1 and 2 have it."""

    kind: int
    number: int
    time: int
    payload: bytes
    sound: bool


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = place = 0
    while True:
        value |= (data[at] & 0x7F) << place
        place, at = place + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def parts(data: bytes) -> Iterator[Part]:
    at = 7
    for _ in range(4):
        _, at = varint(data, at)
    assert zlib.crc32(data[:at]).to_bytes(4, "little") == data[at : at + 4]
    at += 4
    while at < len(data):
        start, kind = at, data[at]
        length, at = varint(data, at + 1)
        number, at = varint(data, at) if kind == 0x4B else (data[at], at + 1)
        time, at = varint(data, at)
        end = at + length
        crc = zlib.crc32(data[start:end]) & 0xFFFF
        yield Part(
            kind, number, time, data[at:end], crc == int.from_bytes(data[end : end + 2], "little")
        )
        at = end + 2


def test_the_example_is_what_the_reader_reads() -> None:
    data = example()
    header = frames.read_header(data)
    assert header == frames.Header(bytes.fromhex("c07a0001"), 96, 80, every=3, ticks=30)
    first, loss, key, still = frames.read_frames(data)
    assert isinstance(loss, frames.Loss)
    assert (loss.first, loss.last) == (1, 2)
    sound = []
    for each in (first, key, still):
        assert isinstance(each, frames.Frame)
        sound.append((each.number, each.time, each.is_key))
    assert sound == [(0, 0, True), (3, 6, True), (4, 8, False)]


def test_the_page_is_enough_to_find_the_frames() -> None:
    frames = list(parts(example()))
    assert [each[:3] for each in frames] == [(0x4B, 0, 0), (0x43, 2, 2), (0x4B, 3, 6), (0x43, 4, 2)]
    assert all(each.sound for each in frames)
    assert Bitstream.from_bytes(frames[0].payload).width == 96
    changed = frames[1].payload
    assert (changed[0], changed[1:3].hex(), changed[3], changed[5:].hex()) == (
        75,
        "2143",
        1,
        "aabbcc",
    )


def test_the_page_is_enough_to_find_a_base() -> None:
    header = frames.read_header(example())
    data = frames.Writer(header, 0x89ABCDEF).head
    at = len(header.to_bytes())
    assert (data[at], data[at + 1 : at + 5].hex()) == (0x42, "efcdab89")
    crc = zlib.crc32(data[at : at + 5]) & 0xFFFF
    assert data[at + 5 :] == crc.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("magic", frames.MAGIC.hex(" ")),
        ("version", str(frames.VERSION)),
        ("suffix", frames.SUFFIX),
        ("media type", frames.MEDIA_TYPE),
        (
            "kinds",
            f"`{frames.KEY:x}` key, `{frames.CONTINUING:x}` continuing, `{frames.RENEWING:x}`",
        ),
        ("base", f"| base | u8 | `{frames.BASE:x}` |"),
    ],
)
def test_the_page_names_what_the_code_has(name: str, value: str) -> None:
    assert value in TEXT
