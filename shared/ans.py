"""ANS words (u32, as constriction hands them over) as bytes, without a wasted byte at the end.

The last word of an ANS stream is never zero, so its leading zero bytes need not travel: on average
that saves a byte or two of a stream of a few hundred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_words(words: NDArray[Any]) -> bytes:
    """Little-endian bytes of the words, trailing zero bytes cut."""
    return np.asarray(words).astype("<u4").tobytes().rstrip(b"\0")


def unpack_words(payload: bytes) -> NDArray[np.uint32]:
    """The words of `pack_words`. Raises ValueError for a payload that it cannot have written."""
    if payload.endswith(b"\0"):
        raise ValueError("a stream never ends in a zero byte")
    padded = payload + b"\0" * (-len(payload) % 4)
    return np.frombuffer(padded, "<u4").astype(np.uint32)
