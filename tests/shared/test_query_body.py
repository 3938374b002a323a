"""Question and stream in one body: both come back, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bitstream import MAGIC
from shared.errors import StreamForeign
from shared.query_body import join_body, split_body


@given(prompt=st.text(), rest=st.binary())
def test_any_text_before_any_stream(prompt: str, rest: bytes) -> None:
    assert split_body(join_body(prompt, MAGIC + rest)) == (prompt.encode(), MAGIC + rest)


@pytest.mark.parametrize("letter", ["\u01c0", "\u01ff", "\u01d4T", "\U0001f697T"])
def test_letters_that_begin_as_a_stream_does(letter: str) -> None:
    assert split_body(join_body(letter * 3, MAGIC)) == ((letter * 3).encode(), MAGIC)


@pytest.mark.parametrize("body", [b"", b"how many cars?", b"\xff\xd8\xff\xe0 a photo", MAGIC[:1]])
def test_bodies_without_a_stream(body: bytes) -> None:
    with pytest.raises(StreamForeign, match="no CoTAM stream"):
        split_body(body)
