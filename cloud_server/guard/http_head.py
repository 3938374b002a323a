"""A request's line and headers: bounded wherever they are read, and refused so that it is seen.

uvicorn bounds what is incomplete; what arrives whole, in one piece, is bounded by a dependency of
every route.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from typing import Final

import h11
from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud_server.guard.bodies import LINGER_S
from cloud_server.guard.problems import error_body
from cloud_server.guard.request_id import HEADER
from shared.errors import RequestError
from shared.schemas import PROBLEM_MEDIA_TYPE

MOST_BYTES: Final = 16 << 10
"""Of line and headers together."""

log = logging.getLogger(__name__)


async def bounded(request: Request) -> None:
    """Raise RequestError where line and headers are over the limit, white space left out."""
    scope = request.scope
    path, query = scope.get("raw_path") or scope["path"], scope.get("query_string", b"")
    line = len(scope["method"]) + len(path) + len(query) + len("  HTTP/1.1\r\n\r\n")
    headers = sum(len(name) + len(value) + len(":\r\n") for name, value in scope["headers"])
    if line + headers > MOST_BYTES:
        raise _too_long()


class HttpProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, but that what is no request is answered with a problem, too.

    uvicorn closes at once. Over bytes that were not read that is a reset, and who is still sending
    never sees why: here the connection is half closed, and read for a while.
    """

    _refused = False

    def data_received(self, data: bytes) -> None:
        """Bytes of the client; those after a refusal are thrown away."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP/1.1, or a head over the limit."""
        self._refused = True
        if self.cycle is not None:  # its body is broken: it ends as if the client had left
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(len(self.conn.trailing_data[0]) > MOST_BYTES)
        self.loop.call_later(LINGER_S, self.transport.close)

    def _answer(self, too_long: bool) -> None:
        error = _too_long() if too_long else RequestError("this is no HTTP/1.1 request")
        name = uuid.uuid4().hex
        log.info("%s", error, extra={"fields": {"request_id": name, "status": 400}})
        body = error_body(error, name).model_dump_json().encode()
        headers = {
            "content-type": PROBLEM_MEDIA_TYPE,
            "content-length": str(len(body)),
            HEADER: name,
            "connection": "close",
        }
        for part in (
            h11.Response(status_code=400, headers=list(headers.items()), reason="Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(part))
        with suppress(OSError):  # the client has gone
            self.transport.write_eof()


def _too_long() -> RequestError:
    return RequestError(f"line and headers have more than {MOST_BYTES} bytes")
