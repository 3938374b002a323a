"""From an admitted work to its answer: in time, and only while somebody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request

from cloud_server.guard.request_id import Gone
from cloud_server.inference.async_sink import AsyncSink
from cloud_server.inference.work import Work
from cloud_server.routes.admission import Ticket
from cloud_server.service import Service
from shared.errors import DeadlineExceeded


async def finish(service: Service, request: Request, ticket: Ticket, work: Work) -> None:
    """Have a work done: afterwards it has its answer, or what became of its picture.

    Raises its error, DeadlineExceeded, or Gone; who computes then drops the work, or stops at the
    next token.
    """
    async for _ in _pieces(service, request, ticket, work, streams=False):
        pass


async def stream(
    service: Service, request: Request, ticket: Ticket, work: Work
) -> AsyncGenerator[str, None]:
    """Pieces of the answer, once the first is there; afterwards `work` has the whole.

    Until then an error still has its own status. Raises as `finish`.
    """
    pieces = _pieces(service, request, ticket, work, streams=True)
    first = await anext(pieces, "")

    async def all_of_them() -> AsyncGenerator[str, None]:
        try:
            if first:
                yield first
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    return all_of_them()


async def _pieces(
    service: Service, request: Request, ticket: Ticket, work: Work, *, streams: bool
) -> AsyncGenerator[str, None]:
    work.sink = sink = AsyncSink(streams)
    watcher = asyncio.ensure_future(_fail_when_gone(request, sink))
    try:
        service.submit(work)
        async for piece in sink.pieces(ticket.deadline):
            yield piece
    except asyncio.TimeoutError as error:
        raise DeadlineExceeded(
            f"no answer within {service.settings.deadline_s:g} s",
            hint="ask for fewer tokens, or again when the server is less busy",
        ) from error
    finally:  # whatever way this ends, nothing goes on for nobody
        sink.stop()
        service.cancel(work)
        watcher.cancel()
    if work.error is not None:
        raise work.error
    service.worked(work)


async def _fail_when_gone(request: Request, sink: AsyncSink) -> None:
    """Fail once the connection is closed; the body has been read by then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    sink.fail(Gone())
