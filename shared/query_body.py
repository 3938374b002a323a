"""The body of a question: its text, and at once the stream of its picture.

    how many cars?  C7 54 05 ...
    `-- UTF-8 ---'  `- stream -

Nothing stands between them, for the first bytes of a stream occur in no UTF-8: C7 begins a letter
of two bytes, and 54 ends none. Before each of several streams stand a byte that occurs in no UTF-8
either, and the stream's length:

    which is newer?  F8  8A 02 00 00  C7 54 05 ...  F8  10 03 00 00  C7 54 05 ...
    `--- UTF-8 ---'      `- u32 le -  `- stream -

A clip (`shared.frames`) begins with C7 46, which occurs in no UTF-8 either, and stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.bitstream import MAGIC
from shared.errors import StreamForeign, StreamTruncated
from shared.frames import MAGIC as CLIP_MAGIC

MARK: Final = b"\xf8"
_LENGTH_BYTES: Final = 4


def join_body(prompt: str, streams: Sequence[bytes]) -> bytes:
    """The body that asks `prompt` of one stream or more."""
    return prompt.encode() + join_streams(streams)


def split_body(body: bytes) -> tuple[bytes, list[bytes]]:
    """The text, as it came, and the streams of a body.

    Raises StreamForeign where it has none, StreamTruncated where the last of several was cut.
    """
    starts = (body.find(mark) for mark in (MAGIC, CLIP_MAGIC, MARK))
    start = min((at for at in starts if at >= 0), default=-1)
    if start < 0:
        raise _foreign()
    return body[:start], split_streams(body[start:])


def join_streams(streams: Sequence[bytes]) -> bytes:
    """One stream as it is, or several with their lengths."""
    if len(streams) == 1:
        return streams[0]
    return b"".join(
        MARK + len(stream).to_bytes(_LENGTH_BYTES, "little") + stream for stream in streams
    )


def split_streams(data: bytes) -> list[bytes]:
    """What `join_streams` was given. Raises StreamForeign, StreamTruncated."""
    if not data.startswith(MARK):
        return [data]
    streams: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + len(MARK) + _LENGTH_BYTES
        if data[at : at + len(MARK)] != MARK:
            raise _foreign()
        length = int.from_bytes(data[at + len(MARK) : start], "little")
        if start + length > len(data):
            raise StreamTruncated(
                f"the body was cut inside of its stream {len(streams) + 1}", hint="send it again"
            )
        streams.append(data[start : start + length])
        at = start + length
    return streams


def _foreign() -> StreamForeign:
    return StreamForeign(
        "the body holds no CoTAM stream",
        hint="send the question, then a stream of edge_client",
    )
