"""Request bodies, read with every limit checked as the bytes arrive; nothing touches a disk.

The framework would read a form before any dependency runs and spool it to a file; here a request
is authorised and admitted first, and its parts are counted while they come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from cloud_server.guard.request_id import Gone
from shared.errors import BodyTooLarge, DeadlineExceeded, FieldInvalid, RequestError

LINGER_S: Final = 2.0


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The whole body. Raises BodyTooLarge or DeadlineExceeded."""
    found = bytearray()
    async for chunk in _chunks(request, limit, timeout_s):
        found += chunk
    return bytes(found)


async def read_form(
    request: Request, fields: Mapping[str, int], limit: int, timeout_s: float
) -> dict[str, bytes]:
    """The parts of a multipart form by name; `fields` has the most bytes that each may have.

    Raises FieldInvalid for an unknown, repeated or overlong field, RequestError for what is no
    multipart form.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise RequestError(
            "the body is not multipart/form-data", hint="send the fields bitstream and prompt"
        )
    form = _Form(fields)
    # The parser would tell the root logger about every damaged body.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in _chunks(request, limit, timeout_s):
            parser.write(chunk)
    except FormParserError as error:
        raise RequestError(f"the form is damaged: {error}") from error
    if not form.ended:
        raise RequestError("the form was cut: its last boundary is missing")
    return {name: bytes(value) for name, value in form.parts.items()}


def text_field(form: Mapping[str, bytes], name: str, default: str | None = None) -> str:
    """A field as text. Raises FieldInvalid where it is absent or not UTF-8."""
    if name not in form:
        if default is None:
            raise FieldInvalid(f"the field {name} is missing")
        return default
    try:
        return form[name].decode()
    except UnicodeDecodeError as error:
        raise FieldInvalid(f"the field {name} is not UTF-8") from error


class _Form:
    """Collects the parts that a MultipartParser finds."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self.parts: dict[str, bytearray] = {}
        self.ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._start,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._disposition = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _start(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self._limits:
            known = ", ".join(self._limits)
            raise FieldInvalid(f"there is no field {name[:64]!r}", hint=f"the fields are: {known}")
        if name in self.parts:
            raise FieldInvalid(f"the field {name} was sent twice")
        self._name = name
        self.parts[name] = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        part, limit = self.parts[self._name], self._limits[self._name]
        if len(part) + end - start > limit:
            raise FieldInvalid(f"the field {self._name} has more than {limit} bytes")
        part += data[start:end]

    def _on_end(self) -> None:
        self.ended = True


async def _chunks(request: Request, limit: int, timeout_s: float) -> AsyncIterator[bytes]:
    """The body as it arrives, its bytes counted and its time bounded.

    Raises Gone where the connection ends before the body does.
    """
    too_large = BodyTooLarge(
        f"the body has more than {limit} bytes", hint="send a smaller picture or a shorter prompt"
    )
    stream = request.stream()
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        await _linger(stream, limit)
        raise too_large
    total = 0
    end = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            left = end - asyncio.get_running_loop().time()
            chunk = await asyncio.wait_for(anext(stream), max(0.0, left))
        except StopAsyncIteration:
            return
        except ClientDisconnect as error:
            raise Gone from error
        except asyncio.TimeoutError as error:
            raise DeadlineExceeded(f"the body did not arrive within {timeout_s:g} s") from error
        total += len(chunk)
        if total > limit:
            await _linger(stream, limit)
            raise too_large
        yield chunk


async def discard(request: Request, limit: int) -> None:
    """Read away the body of a request that is refused before it is read."""
    await _linger(request.stream(), limit)


async def _linger(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read some of what a refused caller still sends, so that it gets to see the refusal.

    A socket closed over unread bytes is reset, and the answer is lost on the way.
    """

    async def discard() -> None:
        left = limit
        async for chunk in stream:
            left -= len(chunk)
            if left < 0:
                return

    try:
        await asyncio.wait_for(discard(), LINGER_S)
    except (asyncio.TimeoutError, ClientDisconnect):
        return
