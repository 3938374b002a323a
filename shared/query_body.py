"""The body of a question: its text, and at once the stream of its picture.

    how many cars?  C7 54 05 ...
    `-- UTF-8 ---'  `- stream -

Nothing stands between them, for the first bytes of a stream occur in no UTF-8: C7 begins a letter
of two bytes, and 54 ends none.
"""

from __future__ import annotations

from shared.bitstream import MAGIC
from shared.errors import StreamForeign


def join_body(prompt: str, stream: bytes) -> bytes:
    """The body that asks `prompt` of a stream."""
    return prompt.encode() + stream


def split_body(body: bytes) -> tuple[bytes, bytes]:
    """The text, as it came, and the stream of a body. Raises StreamForeign where it has none."""
    start = body.find(MAGIC)
    if start < 0:
        raise StreamForeign(
            "the body holds no CoTAM stream",
            hint="send the question, then a stream of edge_client",
        )
    return body[:start], body[start:]
