"""POST /v1/query: a bitstream and a question in, an answer out. POST /v1/images: only the first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from cloud_server.guard import idempotency as replays
from cloud_server.guard.request_id import request_id_of
from cloud_server.routes.admission import Admitted, Caller, Ticket
from cloud_server.routes.answering import done, pieces
from cloud_server.routes.forms import (
    PICTURE_FORM,
    QUESTION_FORM,
    Asked,
    read_picture,
    read_question,
)
from cloud_server.routes.sse import MEDIA_TYPE, EventStream, begun, event
from cloud_server.service import Service
from shared.errors import CotamError
from shared.schemas import ImageInfo, QueryResponse, Timings, Usage, problem_of

router = APIRouter(prefix="/v1")

STREAM: Final[dict[str, Any]] = {
    "content": {
        MEDIA_TYPE: {
            "example": 'event: text\ndata: {"text": "two"}\n\nevent: done\ndata: {...}\n\n',
        }
    }
}


class KeptImage(BaseModel):
    """The answer to POST /v1/images."""

    image_id: str
    expires_in_s: float
    image: ImageInfo


@router.post(
    "/query", response_model=QueryResponse, openapi_extra=QUESTION_FORM, responses={200: STREAM}
)
async def query(request: Request, response: Response, ticket: Admitted) -> Any:
    """Answer a question about a picture.

    With `stream=true` the answer comes as server-sent events: `text` with each piece, then `done`
    with the whole, or `error` with a problem. An `Idempotency-Key` makes a repeated request get
    the answer that the first one got; it is not looked at with `stream=true`.
    """
    service: Service = request.app.state.service
    asked = await read_question(request, service, ticket.caller)
    if asked.stream:
        texts = await begun(pieces(service, request, ticket, asked.work))
        return EventStream(_events(request, ticket, asked, texts))

    async def make() -> QueryResponse:
        await done(service, request, ticket, asked.work)
        return _answer(request, ticket, asked)

    key = request.headers.get(replays.HEADER, "")
    answer, again = await service.replays.answer(ticket.caller, key, asked.digest, make)
    if again:
        response.headers["idempotency-replayed"] = "true"
    return answer


@router.post("/images", response_model=KeptImage, status_code=201, openapi_extra=PICTURE_FORM)
async def keep_image(request: Request, ticket: Admitted) -> KeptImage:
    """Look at a picture once and keep it for questions by `image_id`."""
    service: Service = request.app.state.service
    work, image = await read_picture(request, service)
    await done(service, request, ticket, work)
    assert work.seen is not None
    image_id = service.images.put(ticket.caller, work.seen, image)
    return KeptImage(image_id=image_id, expires_in_s=service.settings.image_ttl_s, image=image)


@router.delete("/images/{image_id}", status_code=204)
async def forget_image(request: Request, image_id: str, caller: Caller) -> None:
    """Forget a picture before its time is over."""
    service: Service = request.app.state.service
    service.images.delete(caller, image_id)


async def _events(
    request: Request, ticket: Ticket, asked: Asked, texts: AsyncGenerator[str, None]
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(texts) as source:
            async for text in source:
                if text:
                    yield event(json.dumps({"text": text}), "text")
        yield event(_answer(request, ticket, asked).model_dump_json(), "done")
    except CotamError as error:
        request.app.state.service.metrics.failed(error.code)
        problem = problem_of(error, request_id_of(request.scope))
        yield event(problem.model_dump_json(), "error")


def _answer(request: Request, ticket: Ticket, asked: Asked) -> QueryResponse:
    """The answer to a work that is done."""
    work, service = asked.work, request.app.state.service
    assert work.answer is not None
    assert work.seen is not None
    times = {name: round(work.times[name], 3) for name in ("decode", "vision", "generate")}
    total = 1000 * (asyncio.get_running_loop().time() - ticket.came)
    return QueryResponse(
        id=request_id_of(request.scope),
        answer=work.answer.text,
        model=service.model().id,
        view=work.seen.view,
        image=asked.image,
        usage=Usage(
            prompt_tokens=work.answer.prompt_tokens,
            completion_tokens=work.answer.completion_tokens,
        ),
        timings_ms=Timings(**times, total=round(total, 3)),
    )
