"""ANS words as bytes: no byte is wasted, none is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.ans import pack_words, unpack_words

words = st.lists(st.integers(0, 2**32 - 1), max_size=20).filter(lambda w: not w or w[-1] != 0)


@given(words)
@example([])
@example([0, 0, 1])
@example([1 << 24])
def test_words_come_back(values: list[int]) -> None:
    payload = pack_words(np.array(values, np.uint32))
    assert unpack_words(payload).tolist() == values
    assert not payload.endswith(b"\0")


@given(st.binary(max_size=40))
def test_bytes_come_back_or_are_refused(payload: bytes) -> None:
    if payload.endswith(b"\0"):
        with pytest.raises(ValueError, match="zero byte"):
            unpack_words(payload)
        return
    found = unpack_words(payload)
    assert found.dtype == np.uint32
    assert pack_words(found) == payload
