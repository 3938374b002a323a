"""Each request has an id: the caller's where it is a plain word, else a new one."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

HEADER: Final = "x-request-id"
CLIENT_GONE: Final = 499  # as nginx notes a client that closed the connection
QUIET: Final = ("/livez", "/readyz", "/metrics")
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
current_request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that this task works on; log lines carry it."""


class Gone(Exception):
    """The client closed the connection: there is nobody to answer."""


def request_id_of(scope: Scope) -> str:
    """The id of a request."""
    request_id: str = scope["state"]["request_id"]
    return request_id


class RequestIds:
    """Middleware: names each request, puts the name on every answer, also on that of a crash.

    answered(method, route, status, seconds) is told of each.
    """

    def __init__(
        self,
        app: ASGIApp,
        unexpected: Callable[[Exception, str], Response],
        answered: Callable[[str, str, int, float], None],
    ) -> None:
        self._app = app
        self._unexpected = unexpected
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _PLAIN.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        current_request_id.set(name)
        start = time.perf_counter()
        status = CLIENT_GONE

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Gone:
            return
        except Exception as error:
            response = self._unexpected(error, name)
            if status == CLIENT_GONE:
                await response(scope, receive, named)
        finally:
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count the request, and log it: where it went and what came of it, not what it said."""
        route = getattr(scope.get("route"), "path", "")
        self._answered(scope["method"], route, status, seconds)
        fields = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
        level = logging.DEBUG if route in QUIET else logging.INFO
        log.log(level, "request", extra={"fields": fields})
