"""Server-sent events: an answer while it grows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cloud_server.guard.request_id import Gone

MEDIA_TYPE: Final = "text/event-stream"


def as_event(data: str, name: str = "") -> bytes:
    """One event; `data` is a line of JSON."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data}\n\n".encode()


class EventStream(Response):
    """Sends events as they come, and closes their source when the client has gone."""

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        # A proxy that buffers would hold the first words back until the last.
        self.headers["x-accel-buffering"] = "no"
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        async with aclosing(self._events) as events:
            try:
                async for event in events:
                    body = {"type": "http.response.body", "body": event, "more_body": True}
                    await send(body)
            except Gone:
                return
        await send({"type": "http.response.body", "body": b""})
