"""Question and streams in one body: all come back, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bitstream import MAGIC
from shared.errors import StreamError, StreamForeign, StreamTruncated
from shared.query_body import MARK, join_body, join_streams, split_body, split_streams


@given(prompt=st.text(), rests=st.lists(st.binary(), min_size=1, max_size=4))
def test_any_text_before_any_streams(prompt: str, rests: list[bytes]) -> None:
    streams = [MAGIC + rest for rest in rests]
    assert split_body(join_body(prompt, streams)) == (prompt.encode(), streams)


@pytest.mark.parametrize("letter", ["\u01c0", "\u01ff", "\u01d4T", "\U0001f697T"])
def test_letters_that_begin_as_a_stream_does(letter: str) -> None:
    assert split_body(join_body(letter * 3, [MAGIC])) == ((letter * 3).encode(), [MAGIC])


@pytest.mark.parametrize("body", [b"", b"how many cars?", b"\xff\xd8\xff\xe0 a photo", MAGIC[:1]])
def test_bodies_without_a_stream(body: bytes) -> None:
    with pytest.raises(StreamForeign, match="no CoTAM stream"):
        split_body(body)


@given(cut=st.integers(1, 31).filter(lambda cut: cut != 19))  # 19: after the first
def test_several_streams_that_were_cut(cut: int) -> None:
    whole = join_streams([MAGIC + b"first stream", MAGIC + b"second"])
    with pytest.raises(StreamTruncated, match="inside of its stream"):
        split_streams(whole[:cut])


@given(data=st.binary(max_size=64))
def test_any_bytes_are_split_or_refused(data: bytes) -> None:
    try:
        streams = split_streams(MARK + data)
    except StreamError:
        return
    assert sum(5 + len(stream) for stream in streams) == 1 + len(data)


def test_other_bytes_between_two_streams() -> None:
    with pytest.raises(StreamForeign):
        split_streams(join_streams([MAGIC, MAGIC]) + MAGIC)
