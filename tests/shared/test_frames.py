"""The container of clips: frames come back, and what is damaged costs frames up to a keyframe."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import frames
from shared.bitstream import MAX_QUALITY_CODE, Bitstream, Limits
from shared.errors import (
    StreamCorrupt,
    StreamError,
    StreamForeign,
    StreamMalformed,
    StreamTooLarge,
    StreamTruncated,
    StreamVersion,
)
from shared.frames import (
    KEY,
    MAGIC,
    MAX_TICKS,
    VERSION,
    Body,
    Changes,
    Frame,
    Header,
    Loss,
    Writer,
    read_base,
    read_frames,
    read_header,
)

HEADER = Header(b"\1\2\3\4", 96, 80, every=4, ticks=30)
PICTURE = Bitstream(b"\1\2\3\4", 96, 80, 60, 0x1234, b"\xb8\x40\xa0", bytes(range(20)))
SMALL = Changes(75, 0x4321, False, b"\x05", bytes(range(40, 60)))
RENEWED = Changes(75, 0x1111, True, b"", b"latents")

changes = st.builds(
    Changes,
    quality_code=st.integers(0, MAX_QUALITY_CODE),
    check=st.integers(0, 0xFFFF),
    renews=st.booleans(),
    plane=st.binary(max_size=40),
    latents=st.binary(max_size=80),
)
pictures = st.builds(
    Bitstream,
    codec_id=st.just(HEADER.codec_id),
    width=st.just(HEADER.width),
    height=st.just(HEADER.height),
    quality_code=st.integers(0, MAX_QUALITY_CODE),
    check=st.integers(0, 0xFFFF),
    level_map=st.binary(max_size=20),
    latents=st.binary(max_size=80),
)
bodies = st.lists(pictures | changes | st.none(), max_size=12)
steps = st.integers(1, 1 << 20)


def written(bodies: Sequence[Body], times: Sequence[int] | None = None) -> list[bytes]:
    """Head and frames of a clip, one after the other."""
    writer = Writer(HEADER)
    times = times or range(len(bodies))
    return [
        writer.head,
        *(writer.add(body, time) for body, time in zip(bodies, times, strict=True)),
    ]


def eight() -> list[bytes]:
    """Keyframes at 0, 3 and 6, and frames that continue them."""
    return written([PICTURE, SMALL, None, PICTURE, RENEWED, SMALL, PICTURE, None])


def summary(data: bytes, limits: Limits | None = None) -> list[int | tuple[int, int | None]]:
    """Numbers of frames, and first and last of what is lost."""
    return [
        each.number if isinstance(each, Frame) else (each.first, each.last)
        for each in read_frames(data, limits)
    ]


@given(pictures, bodies, st.lists(steps, min_size=13, max_size=13))
def test_a_clip_comes_back(first: Bitstream, rest: list[Body], later: list[int]) -> None:
    times = [sum(later[: i + 1]) for i in range(len(rest) + 1)]
    parts = written([first, *rest], times)
    frames = list(read_frames(b"".join(parts)))
    assert frames == [
        Frame(i, t, b) for i, (t, b) in enumerate(zip(times, [first, *rest], strict=True))
    ]
    assert [frame.size for frame in frames if isinstance(frame, Frame)] == [
        len(part) for part in parts[1:]
    ]


@given(
    st.binary(min_size=4, max_size=4),
    st.integers(1, 65_535),
    st.integers(1, 900),
    st.integers(1, 65_535),
    st.integers(1, MAX_TICKS),
)
def test_a_head_comes_back(codec: bytes, width: int, height: int, every: int, ticks: int) -> None:
    header = Header(codec, width, height, every, ticks)
    assert read_header(header.to_bytes()) == header


BASE = 0x89ABCDEF


def based(bodies: Sequence[Body]) -> list[bytes]:
    """As `written`, but what goes on from something that the reader kept; times from 1."""
    writer = Writer(HEADER, BASE)
    return [writer.head, *(writer.add(body, time) for time, body in enumerate(bodies, 1))]


@given(bodies)
def test_a_clip_that_continues_something_comes_back(rest: list[Body]) -> None:
    data = b"".join(based(rest))
    assert read_base(data) == BASE
    assert list(read_frames(data)) == [Frame(i, i + 1, body) for i, body in enumerate(rest)]
    assert read_base(b"".join(eight())) is None


def test_a_base_is_seven_bytes_and_without_it_frames_are_lost_up_to_a_keyframe() -> None:
    parts = based([SMALL, None, PICTURE, SMALL])
    head = HEADER.to_bytes()
    assert len(parts[0]) == len(head) + 7
    for at in range(len(head), len(parts[0])):
        bad = parts[0][:at] + bytes([parts[0][at] ^ 1]) + parts[0][at + 1 :]
        assert read_base(bad) is None
        assert summary(bad + b"".join(parts[1:])) == [(0, 1), 2, 3]
    assert summary(head + b"".join(parts[1:])) == [(0, 1), 2, 3]
    assert summary(b"".join(parts[:1] + parts[2:])) == [(0, 1), 2, 3]
    with pytest.raises(StreamMalformed, match="time"):
        Writer(HEADER, BASE).add(SMALL, 0)


def test_a_frame_in_which_nothing_changed_takes_six_bytes() -> None:
    assert len(eight()[3]) == 6


def test_a_clip_may_be_cut_between_frames_and_any_cut_inside_costs_the_last() -> None:
    parts = eight()
    whole = b"".join(parts)
    ends = [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    for end in range(ends[0], len(whole)):
        sound = sum(end >= each for each in ends) - 1
        expected: list[object] = list(range(sound))
        assert summary(whole[:end]) == expected + ([] if end in ends else [(sound, None)])


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (1, [(0, 2), 3, 4, 5, 6, 7]),
        (2, [0, (1, 2), 3, 4, 5, 6, 7]),
        (3, [0, 1, (2, 2), 3, 4, 5, 6, 7]),
        (4, [0, 1, 2, (3, 5), 6, 7]),
        (8, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_after_a_lost_frame_it_goes_on_at_the_next_keyframe(
    lost: int, expected: list[object]
) -> None:
    parts = eight()
    assert summary(b"".join(parts[:lost] + parts[lost + 1 :])) == expected


def test_any_changed_byte_costs_frames_up_to_the_next_keyframe_and_no_more() -> None:
    parts = eight()
    key = {0: 2, 1: 2, 2: 2, 3: 5, 4: 5, 5: 5, 6: None, 7: None}
    for number in range(8):
        before, frame, behind = (
            b"".join(parts[: number + 1]),
            parts[number + 1],
            b"".join(parts[number + 2 :]),
        )
        for at in range(len(frame)):
            for flip in (1, 0x80, 0xFF):
                bad = frame[:at] + bytes([frame[at] ^ flip]) + frame[at + 1 :]
                frames = summary(before + bad + behind)
                last = key[number]
                rest = [] if last is None else list(range(last + 1, 8))
                assert frames == [*range(number), (number, last), *rest]


def test_bytes_that_are_missing_anywhere_cost_no_later_keyframe() -> None:
    parts = eight()
    whole, head = b"".join(parts), len(parts[0])
    for start in range(head, head + len(parts[1]) + len(parts[2])):
        for count in (1, 5, 30):
            frames = summary(whole[:start] + whole[start + count :])
            assert frames[-5:] == [3, 4, 5, 6, 7] or frames[-2:] == [6, 7]


def test_what_was_lost_is_said() -> None:
    parts = eight()
    first, second = list(read_frames(b"".join(parts[:2] + parts[3:4])))
    assert isinstance(first, Frame)
    assert isinstance(second, Loss)
    assert "frame 1 of the clip is missing" in str(second.error)
    assert second.count is None
    assert Loss(3, 5, second.error).count == 3


@given(st.binary(max_size=300))
@example(b"")
@example(MAGIC)
@example(bytes([KEY]) * 300)
def test_any_bytes_behind_a_head_are_read_as_losses(data: bytes) -> None:
    for each in read_frames(HEADER.to_bytes() + data):
        assert isinstance(each, Loss)
    for hostile in (data, MAGIC + bytes([VERSION]) + data):
        with pytest.raises(StreamError):
            list(read_frames(hostile))


def test_hostile_keyframes_everywhere_are_not_all_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each claims all that follows, so that looking at all of them would take an hour."""
    looked_at = []
    crc = frames._crc

    def watched(data: bytes | memoryview) -> bytes:
        looked_at.append(len(data))
        return crc(data)

    monkeypatch.setattr(frames, "_crc", watched)
    claim = bytes([KEY]) + b"\xff\xff\x03" + b"\0\0" + PICTURE.to_bytes()[:8]
    data = HEADER.to_bytes() + claim * 20_000
    (loss,) = read_frames(data)
    assert isinstance(loss, Loss)
    assert sum(looked_at) <= 5 * len(data)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", StreamTruncated),
        (b"\xc7T", StreamForeign),
        (PICTURE.to_bytes(), StreamForeign),
        (MAGIC, StreamTruncated),
        (MAGIC + b"\x02" + HEADER.to_bytes()[3:], StreamVersion),
        (HEADER.to_bytes()[:-1], StreamTruncated),
        (HEADER.to_bytes()[:-1] + b"x", StreamCorrupt),
    ],
)
def test_a_bad_head_ends_in_its_error(data: bytes, error: type[StreamError]) -> None:
    with pytest.raises(error):
        read_frames(data)


def test_limits_hold_before_anything_is_read() -> None:
    whole = b"".join(eight())
    with pytest.raises(StreamTooLarge, match="96x80"):
        read_frames(whole, Limits(pixels=96 * 79))
    with pytest.raises(StreamTooLarge):
        read_frames(whole, Limits(stream_bytes=len(whole) - 1))
    (loss,) = read_frames(whole, Limits(chunk_bytes=10))
    assert isinstance(loss, Loss)
    assert isinstance(loss.error, StreamTooLarge)


def test_a_writer_refuses_what_cannot_stand_there() -> None:
    writer = Writer(HEADER)
    with pytest.raises(StreamMalformed, match="begins with a keyframe"):
        writer.add(SMALL, 0)
    writer.add(PICTURE, 5)
    with pytest.raises(StreamMalformed, match="time"):
        writer.add(SMALL, 5)
    other = Bitstream(b"\1\2\3\4", 96, 81, 60, 0, b"", b"")
    with pytest.raises(StreamMalformed, match="another codec or size"):
        writer.add(other, 6)
    with pytest.raises(StreamMalformed, match="quality"):
        writer.add(Changes(181, 0, False, b"", b""), 6)
    for fields in ((b"\1\2\3", 1, 1, 1, 1), (b"\1\2\3\4", 0, 1, 1, 1), (b"\1\2\3\4", 1, 1, 0, 1)):
        with pytest.raises(StreamMalformed):
            Header(*fields).to_bytes()
