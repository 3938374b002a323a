"""Bytes read one field after the other, never past their end."""

from __future__ import annotations

from shared.errors import StreamMalformed, StreamTruncated


class Cursor:
    """Where a reader is in `data[at:end]`."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes. Raises StreamTruncated, which names `what`, where they end."""
        if count > self.end - self.at:
            raise StreamTruncated(f"the stream ends inside its {what}")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self, what: str) -> int:
        """The next byte."""
        return self.take(1, what)[0]

    def varint(self, what: str, most: int) -> int:
        """A number of 7 bits a byte, lowest first, of at most `most` bytes; raises StreamMalformed
        for a longer one, and for one that is padded."""
        value = 0
        for i in range(most):
            byte = self.byte(what)
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                # One value, one form: a last byte of zero would only pad.
                if byte == 0 and i > 0:
                    raise StreamMalformed(f"the {what} is padded")
                return value
        raise StreamMalformed(f"the {what} is longer than {most} bytes")


def varint(value: int) -> bytes:
    """The bytes of a number that is not negative, as `Cursor.varint` reads them."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def check_range(what: str, value: int, low: int, high: int) -> None:
    """Raise StreamMalformed for a field outside `low..high`."""
    if not low <= value <= high:
        raise StreamMalformed(f"the {what} is {value}, outside {low}..{high}")
