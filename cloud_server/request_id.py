"""Each request has an id: the caller's where it is a plain word, else a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "x-request-id"
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
current_request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that this task works on; log lines carry it."""


class Gone(Exception):
    """The client closed the connection: there is nobody to answer."""


def request_id_of(scope: Scope) -> str:
    """The id of a request."""
    found: str = scope["state"]["request_id"]
    return found


class RequestIds:
    """Middleware: names each request, puts the name on every answer, also on that of a crash."""

    def __init__(self, app: ASGIApp, unexpected: Callable[[Exception, str], Response]) -> None:
        self._app = app
        self._unexpected = unexpected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _PLAIN.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        current_request_id.set(name)
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Gone:
            return
        except Exception as error:
            response = self._unexpected(error, name)
            if not started:
                await response(scope, receive, named)
