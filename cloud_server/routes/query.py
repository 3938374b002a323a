"""POST /v1/query: a bitstream and a question in, an answer out. POST /v1/images: only the first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from cloud_server.guard.idempotency import IDEMPOTENCY_KEY
from cloud_server.guard.request_id import request_id_of
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.work import Work
from cloud_server.routes import results
from cloud_server.routes.admission import Admitted, Caller, Ticket
from cloud_server.routes.documented import KEY, WORK, answer, problems
from cloud_server.routes.examples import ANSWER, KEPT_IMAGE
from cloud_server.routes.forms import PictureForm, QuestionForm, described, read_form
from cloud_server.routes.sse import EventStream, as_event
from cloud_server.routes.works import work_on, work_on_picture
from cloud_server.service import Service
from shared.errors import CotamError, NotFound
from shared.schemas import ImageInfo, QueryResponse, Timings, Usage, problem_of

router = APIRouter(prefix="/v1")

_EVENTS: Final = 'event: text\ndata: {"text": "two"}\n\nevent: done\ndata: {...}\n\n'


class KeptImage(BaseModel):
    """The answer to POST /v1/images."""

    image_id: str
    expires_in_s: float
    image: ImageInfo


@router.post(
    "/query",
    response_model=QueryResponse,
    openapi_extra=described(QuestionForm, "the question in UTF-8, and at once its streams"),
    responses={200: answer(ANSWER, stream=_EVENTS), **problems(*WORK, NotFound)},
)
async def query(request: Request, response: Response, ticket: Admitted) -> Any:
    """Answer a question about a picture, or about several at once.

    The body is a form or, in fewer bytes, the question in UTF-8 and at once the stream, with the
    other fields in the URL. The question does not go there: logs keep URLs. Several pictures are
    the same field of the form several times; in the short body the byte F8 and the stream's length
    (u32, lowest byte first) stand before each stream. A clip takes the place of a stream; the model
    is shown its frames in their order.

    With `stream=true` the answer comes as server-sent events: `text` with each piece, then `done`
    with the whole, or `error` with a problem. An `Idempotency-Key` makes a repeated request get
    the answer that the first one got; it is not looked at with `stream=true`.
    """
    service: Service = request.app.state.service
    form = await read_form(request, QuestionForm)
    work, images = await work_on(service, ticket, form.pictures)
    work.prompt, work.max_new_tokens = form.prompt, form.max_new_tokens
    if form.stream:
        pieces = await results.stream(service, request, ticket, work)
        return EventStream(_events(request, ticket, work, images, pieces))

    async def make() -> QueryResponse:
        await results.finish(service, request, ticket, work)
        return _answer(request, ticket, work, images)

    key = request.headers.get(IDEMPOTENCY_KEY, "")
    kept, replayed = await service.answers.answer(ticket.caller, key, form.digest, make)
    if replayed:
        response.headers["idempotency-replayed"] = "true"
    return kept


@router.post(
    "/images",
    response_model=KeptImage,
    status_code=201,
    openapi_extra=described(PictureForm, "the stream"),
    responses={201: answer(KEPT_IMAGE), **problems(*WORK)},
)
async def keep_image(request: Request, ticket: Admitted) -> KeptImage:
    """Look at a picture once and keep it for questions by `image_id`."""
    service: Service = request.app.state.service
    form = await read_form(request, PictureForm)
    work, image = await work_on_picture(service, ticket, form.bitstream)
    await results.finish(service, request, ticket, work)
    assert work.visual is not None
    image_id = service.images.put(ticket.caller, work.visual, image)
    return KeptImage(image_id=image_id, expires_in_s=service.settings.image_ttl_s, image=image)


@router.delete("/images/{image_id}", status_code=204, responses=problems(*KEY, NotFound))
async def forget_image(request: Request, image_id: str, caller: Caller) -> None:
    """Forget a picture before its time is over."""
    service: Service = request.app.state.service
    service.images.delete(caller, image_id)


async def _events(
    request: Request,
    ticket: Ticket,
    work: Work,
    images: list[ImageInfo],
    pieces: AsyncGenerator[str, None],
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(pieces):
            async for text in pieces:
                yield as_event(json.dumps({"text": text}), "text")
        yield as_event(_answer(request, ticket, work, images).model_dump_json(), "done")
    except CotamError as error:
        request.app.state.service.metrics.failed(error.code)
        problem = problem_of(error, request_id_of(request.scope))
        yield as_event(problem.model_dump_json(), "error")


def _answer(request: Request, ticket: Ticket, work: Work, images: list[ImageInfo]) -> QueryResponse:
    """The answer to a work that is done."""
    service: Service = request.app.state.service
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
        confidence=_confidence(service, work.answer),
    )


def _confidence(service: Service, found: Answer) -> float | None:
    if found.sureness is None:
        return None
    return round(service.calibration.confidence(found.sureness), 4)
