"""From an admitted work to what its caller gets: in time, and only while somebody waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from fastapi import Request

from cloud_server.guard.request_id import Gone, request_id_of
from cloud_server.inference.async_sink import AsyncSink
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.work import Work
from cloud_server.routes.admission import Ticket
from cloud_server.routes.sse import as_event
from cloud_server.service import Service
from shared.errors import CotamError, DeadlineExceeded
from shared.schemas import ImageInfo, Need, QueryResponse, Timings, Usage, problem_of


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


@dataclass(frozen=True)
class Reply:
    """A work that is done, what its pictures are, and what is asked for besides.

    image_id: of its last frame, where that is kept.
    """

    work: Work
    images: list[ImageInfo]
    need: Need | None = None
    image_id: str = ""


def answer_of(service: Service, request: Request, ticket: Ticket, reply: Reply) -> QueryResponse:
    """The answer to a work that is done."""
    work, images = reply.work, reply.images
    assert work.answer is not None
    assert work.visual is not None
    times = {name: round(work.times[name], 3) for name in ("decode", "vision", "generate")}
    total = 1000 * (asyncio.get_running_loop().time() - ticket.came)
    return QueryResponse(
        id=request_id_of(request.scope),
        answer=work.answer.text,
        model=service.model().id,
        view=work.visual.view,
        image=images[0],
        images=images if len(images) > 1 else [],
        usage=Usage(
            prompt_tokens=work.answer.prompt_tokens,
            completion_tokens=work.answer.completion_tokens,
        ),
        timings_ms=Timings(**times, total=round(total, 3)),
        confidence=confidence_of(service, work.answer),
        need=reply.need,
        image_id=reply.image_id,
    )


def confidence_of(service: Service, answer: Answer) -> float | None:
    """How probable it is that an answer is right, 0..1, calibrated; None where that is unknown."""
    if answer.sureness is None:
        return None
    return round(service.calibration.confidence(answer.sureness), 4)


async def events(
    service: Service,
    request: Request,
    ticket: Ticket,
    pieces: AsyncGenerator[str, None],
    reply: Callable[[], Reply],
) -> AsyncGenerator[bytes, None]:
    """Server-sent events: pieces of text, then the answer; `reply` is asked when it is there."""
    try:
        async with aclosing(pieces):
            async for text in pieces:
                yield as_event(json.dumps({"text": text}), "text")
        answer = answer_of(service, request, ticket, reply())
        yield as_event(answer.model_dump_json(), "need" if answer.need else "done")
    except CotamError as error:
        service.metrics.failed(error.code)
        problem = problem_of(error, request_id_of(request.scope))
        yield as_event(problem.model_dump_json(), "error")
