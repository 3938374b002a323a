"""From an admitted work to its answer: in time, and only while somebody waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request

from cloud_server.guard.request_id import Gone
from cloud_server.inference.work import Work
from cloud_server.routes.admission import Ticket
from cloud_server.service import Service
from shared.errors import DeadlineExceeded


async def done(service: Service, request: Request, ticket: Ticket, work: Work) -> Work:
    """`work` with its answer.

    Raises its error, DeadlineExceeded, or Gone; the inference thread then drops the work, or stops
    at the next token.
    """
    async with _watched(service, request, ticket, work) as (future, gone):
        left = ticket.deadline - asyncio.get_running_loop().time()
        awaited: set[asyncio.Future[Any]] = {future, gone}
        await asyncio.wait(awaited, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return _checked(service, future.result())
        if gone.done():
            raise Gone
        raise late(service)


async def pieces(
    service: Service, request: Request, ticket: Ticket, work: Work
) -> AsyncGenerator[str, None]:
    """Pieces of the answer as they come; afterwards `work` has the whole. Raises as `done`."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str] = asyncio.Queue()
    work.on_text = lambda text: loop.call_soon_threadsafe(queue.put_nowait, text)
    async with _watched(service, request, ticket, work) as (future, gone):
        while True:
            piece = asyncio.ensure_future(queue.get())
            awaited: set[asyncio.Future[Any]] = {piece, future, gone}
            try:
                await asyncio.wait(
                    awaited,
                    timeout=max(0.0, ticket.deadline - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if piece.done():
                    yield piece.result()
                elif future.done():
                    while not queue.empty():
                        yield queue.get_nowait()
                    _checked(service, future.result())
                    return
                elif gone.done():
                    raise Gone
                else:
                    raise late(service)
            finally:
                piece.cancel()


def late(service: Service) -> DeadlineExceeded:
    """The error of a request that took too long."""
    return DeadlineExceeded(
        f"no answer within {service.settings.deadline_s:g} s",
        hint="ask for fewer tokens, or again when the server is less busy",
    )


def _checked(service: Service, work: Work) -> Work:
    if work.error is not None:
        raise work.error
    service.worked(work)
    return work


@asynccontextmanager
async def _watched(
    service: Service, request: Request, ticket: Ticket, work: Work
) -> AsyncIterator[tuple[asyncio.Future[Work], asyncio.Future[None]]]:
    """The future of a submitted work, and one that is done when the client has gone.

    Whatever way the context ends, nothing goes on for nobody.
    """
    cancelled = threading.Event()
    work.stopped = cancelled.is_set
    future = asyncio.wrap_future(service.submit(work))
    gone = asyncio.ensure_future(_gone(request))
    try:
        yield future, gone
    finally:
        cancelled.set()
        future.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the connection is closed; the body has been read by then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
