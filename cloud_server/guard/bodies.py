"""Request bodies, read with every limit checked as the bytes arrive; nothing touches a disk.

The framework would read a form before any dependency runs; here a request is authorised and
admitted first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cloud_server.guard.request_id import Gone
from shared.errors import BodyTooLarge, DeadlineExceeded, RequestError
from shared.prompt import MAX_PICTURES

FORM: Final = "multipart/form-data"
MOST_PARTS: Final = MAX_PICTURES + 16
"""Of a form. More than any has, so that a field too many is named."""
LINGER_S: Final = 2.0


def media_type(request: Request) -> str:
    """What the body is said to be, without parameters; empty where nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The whole body. Raises BodyTooLarge or DeadlineExceeded."""
    body = bytearray()
    async for chunk in _chunks(request, limit, timeout_s):
        body += chunk
    return bytes(body)


async def read_parts(request: Request, limit: int, timeout_s: float) -> dict[str, list[bytes]]:
    """The parts of a multipart form by name, as they came.

    Raises as `read_body`, RequestError for what is no such form.
    """
    content_type = request.headers.get("content-type", "")
    if media_type(request) != FORM:
        raise RequestError(f"the body is not {FORM}", hint="send the fields of docs/api.md")
    # Each byte is a character of Latin-1: text is decoded where a field is known to be text.
    headers = Headers({"content-type": f"{content_type}; charset=latin-1"})
    parser = _InMemory(
        headers,
        _chunks(request, limit, timeout_s),
        max_files=MOST_PARTS,
        max_fields=MOST_PARTS,
        max_part_size=limit,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(f"the form is damaged: {error.message}") from error
    try:
        if not parser.ended:
            raise RequestError("the form was cut: its last boundary is missing")
        return await _by_name(form)
    finally:
        await form.close()


async def _by_name(form: FormData) -> dict[str, list[bytes]]:
    parts: dict[str, list[bytes]] = {}
    for key, part in form.multi_items():
        name = key.encode("latin-1").decode(errors="replace")
        data = await part.read() if isinstance(part, UploadFile) else part.encode("latin-1")
        parts.setdefault(name, []).append(data)
    return parts


class _InMemory(MultiPartParser):
    """Starlette's parser without files on a disk, and with an eye on the end of the form."""

    spool_max_size = 0  # of a SpooledTemporaryFile: no limit
    ended = False

    def on_end(self) -> None:
        """Called after the last boundary."""
        self.ended = True


async def _chunks(request: Request, limit: int, timeout_s: float) -> AsyncGenerator[bytes, None]:
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
