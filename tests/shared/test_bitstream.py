"""The container: every stream comes back, every damage ends in its documented error."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.bitstream import (
    CHUNK_LATENTS,
    FIRST_OPTIONAL_CHUNK,
    MAGIC,
    MAX_QUALITY_CODE,
    MAX_SIDE,
    VERSION,
    Bitstream,
    Limits,
)
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

NO_LIMITS = Limits(pixels=MAX_SIDE * MAX_SIDE)
MEMORY = 64 << 20

extras = st.dictionaries(
    st.integers(FIRST_OPTIONAL_CHUNK, 255), st.binary(max_size=300), max_size=4
).map(lambda chunks: tuple(sorted(chunks.items())))

streams = st.builds(
    Bitstream,
    codec_id=st.binary(min_size=4, max_size=4),
    width=st.integers(1, MAX_SIDE),
    height=st.integers(1, MAX_SIDE),
    quality_code=st.integers(0, MAX_QUALITY_CODE),
    check=st.integers(0, 0xFFFF),
    level_map=st.binary(max_size=40),
    latents=st.binary(max_size=400),
    extras=extras,
)


def small(**fields: Any) -> Bitstream:
    """A stream of a 256x256 picture with made-up payloads."""
    plain: dict[str, Any] = {
        "codec_id": b"\x01\x02\x03\x04",
        "width": 256,
        "height": 256,
        "quality_code": 60,
        "check": 0x1234,
        "level_map": b"\x78\x55",
        "latents": bytes(range(1, 33)),
    }
    return Bitstream(**{**plain, **fields})


def sealed(body: bytes) -> bytes:
    """A body with the right CRC, so that what is wrong inside is reached."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def body(after_check: bytes, sides: bytes = b"\x80\x02\x80\x02", quality: int = 60) -> bytes:
    """A sealed stream with hand-made sides and chunks."""
    header = MAGIC + bytes([VERSION]) + b"\x01\x02\x03\x04"
    return sealed(header + sides + bytes([quality]) + b"\x34\x12" + after_check)


@given(streams)
@example(small(width=1, height=1, level_map=b"", latents=b""))
@example(small(extras=((128, b""), (255, b"x"))))
def test_a_stream_comes_back(stream: Bitstream) -> None:
    data = stream.to_bytes()
    assert Bitstream.from_bytes(data, NO_LIMITS) == stream
    assert Bitstream.from_bytes(data, NO_LIMITS).to_bytes() == data


def test_the_container_costs_at_most_24_bytes_at_256_by_256() -> None:
    stream = small()
    overhead = len(stream.to_bytes()) - len(stream.level_map) - len(stream.latents)
    assert overhead <= 24


def test_quality_is_in_twentieths() -> None:
    assert small(quality_code=61).quality == pytest.approx(3.05)


@pytest.mark.parametrize(
    "fields",
    [
        {"codec_id": b"abc"},
        {"width": 0},
        {"height": MAX_SIDE + 1},
        {"quality_code": 181},
        {"quality_code": -1},
        {"check": 0x10000},
        {"extras": ((127, b""),)},
        {"extras": ((256, b""),)},
        {"extras": ((130, b""), (129, b""))},
        {"extras": ((130, b"a"), (130, b"b"))},
    ],
)
def test_fields_outside_their_range_are_not_written(fields: dict[str, Any]) -> None:
    with pytest.raises(StreamMalformed):
        small(**fields).to_bytes()


def test_every_truncation_is_refused() -> None:
    data = small(extras=((200, b"more"),)).to_bytes()
    for end in range(len(data)):
        with pytest.raises((StreamTruncated, StreamCorrupt)):
            Bitstream.from_bytes(data[:end])


@given(streams, st.data())
def test_a_truncated_stream_is_refused(stream: Bitstream, data: st.DataObject) -> None:
    whole = stream.to_bytes()
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises((StreamTruncated, StreamCorrupt)):
        Bitstream.from_bytes(whole[:end], NO_LIMITS)


def test_every_mutated_byte_ends_in_its_error() -> None:
    data = small(extras=((200, b"more"),)).to_bytes()
    for place in range(len(data)):
        for value in range(256):
            if value == data[place]:
                continue
            mutated = data[:place] + bytes([value]) + data[place + 1 :]
            expected: type[StreamError] = StreamCorrupt
            if place < len(MAGIC):
                expected = StreamForeign
            elif place == len(MAGIC):
                expected = StreamVersion
            with pytest.raises(expected):
                Bitstream.from_bytes(mutated)


def test_a_mutated_byte_under_a_right_crc_raises_only_stream_errors() -> None:
    data = small(extras=((200, b"more"),)).to_bytes()[:-4]
    for place in range(len(data)):
        for value in range(256):
            try:
                stream = Bitstream.from_bytes(
                    sealed(data[:place] + bytes([value]) + data[place + 1 :])
                )
            except StreamError:
                continue
            assert 1 <= stream.width <= MAX_SIDE
            assert 1 <= stream.height <= MAX_SIDE
            assert stream.to_bytes()[:place] == data[:place]


@given(st.binary(max_size=200))
@example(b"")
@example(MAGIC)
@example(MAGIC + bytes([VERSION]))
def test_any_bytes_raise_only_stream_errors(data: bytes) -> None:
    for hostile in (data, MAGIC + bytes([VERSION]) + data, body(data), body(b"", sides=data)):
        try:
            stream = Bitstream.from_bytes(hostile)
        except StreamError:
            continue
        assert stream.to_bytes() == hostile


@pytest.mark.parametrize("foreign", [b"\xff\xd8\xff\xe0", b"PNG", b"\x00", MAGIC[:1] + b"x"])
def test_another_format_is_named_foreign(foreign: bytes) -> None:
    with pytest.raises(StreamForeign):
        Bitstream.from_bytes(foreign)


@pytest.mark.parametrize(
    ("version", "advice"), [(VERSION + 1, "update the reader"), (1, "encode the picture again")]
)
def test_another_version_is_named_with_what_to_do(version: int, advice: str) -> None:
    data = small().to_bytes()
    with pytest.raises(StreamVersion, match=f"version {version}") as caught:
        Bitstream.from_bytes(MAGIC + bytes([version]) + data[3:])
    assert caught.value.hint == advice


@pytest.mark.parametrize(
    ("sides", "error"),
    [
        (b"\x00\x01", StreamMalformed),  # no pixels
        (b"\x80\x00\x01", StreamMalformed),  # 0, padded
        (b"\x81\x80\x00\x01", StreamMalformed),  # 1, padded
        (b"\x80\x80\x04\x01", StreamMalformed),  # 65,536
        (b"\x80\x80\x80\x01\x01", StreamMalformed),  # a fourth byte
        (b"\xff" * 40, StreamMalformed),
        (b"\xff\xff\x03\xff\xff\x03", StreamTooLarge),  # 65,535 x 65,535
    ],
)
def test_hostile_sides(sides: bytes, error: type[StreamError]) -> None:
    with pytest.raises(error):
        Bitstream.from_bytes(body(b"\x02\x00", sides=sides))


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        (b"", StreamMalformed),  # no latents
        (b"\x01\x01\x78", StreamMalformed),
        (b"\x01\x00\x02\x00", StreamMalformed),  # an empty level map
        (b"\x02\x00\x01\x01\x78", StreamMalformed),  # out of order
        (b"\x02\x00\x02\x00", StreamMalformed),  # twice
        (b"\x02\x80\x00", StreamMalformed),  # padded length
        (b"\x02\x80\x80\x80\x80\x80\x01", StreamMalformed),  # a sixth byte
        (b"\x02\x05abc", StreamTruncated),
        (b"\x02\x80", StreamTruncated),
        (b"\x02", StreamTruncated),
        (b"\x02\xff\xff\xff\xff\x0f", StreamTooLarge),
        (b"\x00\x00\x02\x00", StreamUnknownChunk),
        (b"\x02\x00\x03\x00", StreamUnknownChunk),
        (b"\x02\x00\x7f\x00", StreamUnknownChunk),
    ],
)
def test_hostile_chunks(chunks: bytes, error: type[StreamError]) -> None:
    with pytest.raises(error):
        Bitstream.from_bytes(body(chunks))


def test_a_quality_outside_its_range_is_malformed() -> None:
    with pytest.raises(StreamMalformed, match="quality"):
        Bitstream.from_bytes(body(b"\x02\x00", quality=181))


@given(extras)
def test_unknown_optional_chunks_are_kept_and_harm_nothing(
    chunks: tuple[tuple[int, bytes], ...],
) -> None:
    parsed = Bitstream.from_bytes(small(extras=chunks).to_bytes())
    assert parsed.extras == chunks
    assert parsed.latents == small().latents


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(pixels=256 * 256 - 1), "pixels"),
        (Limits(stream_bytes=20), "bytes"),
        (Limits(chunk_bytes=31), "chunk type 2"),
    ],
)
def test_limits_of_the_reader(limits: Limits, what: str) -> None:
    data = small().to_bytes()
    with pytest.raises(StreamTooLarge, match=what):
        Bitstream.from_bytes(data, limits)
    assert Bitstream.from_bytes(data, Limits(256 * 256, len(data), 32)) == small()


def test_sizes_are_checked_before_anything_is_allocated() -> None:
    hostile = [
        body(b"\x02\xff\xff\xff\xff\x0f"),
        body(bytes([CHUNK_LATENTS]) + b"\xff\xff\xff\x0f"),  # just under the limit of a chunk
        body(b"\x02\x00", sides=b"\xff\xff\x03\xff\xff\x03"),
        body(b"\x02\x00", sides=b"\xff\xff\x03\x80\x07"),  # 65,535 x 896: inside the limit
        body(b"".join(bytes([kind, 0]) for kind in range(128, 256))),
    ]
    tracemalloc.start()
    try:
        for data in hostile:
            try:
                Bitstream.from_bytes(data)
            except StreamError:
                continue
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY // 64
