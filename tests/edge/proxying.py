"""What the tests of the proxy share: apps on loopback, and a server that keeps what it saw."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edge_client.proxy.server import configuration

EVENTS = [b'data: {"choices": [1]}\n', b"\ndata: [D", b"ONE]\n\n"]


@dataclass
class Upstream:
    """A server of OpenAI's form.

    `replies` are given out first, in order; then each question is answered with its own body.
    """

    replies: list[Response] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def app(self) -> Starlette:
        routes = [
            Route("/v1/chat/completions", self.ask, methods=["POST"]),
            Route("/{path:path}", self.page),
        ]
        return Starlette(routes=routes)

    async def ask(self, request: Request) -> Response:
        body = await request.body()
        target = f"{request.url.path}?{request.url.query}"
        self.seen.append((target, dict(request.headers), body))
        if self.replies:
            return self.replies.pop(0)
        if json.loads(body).get("stream"):
            return StreamingResponse(_events(), media_type="text/event-stream")
        return Response(body, media_type="application/json", headers={"x-request-id": "r-7"})

    async def page(self, request: Request) -> Response:
        page = self.pages.get(request.url.path)
        return Response(page, 200 if page else 404, media_type="application/json")


async def _events() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The URL of an app that is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(configuration(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
