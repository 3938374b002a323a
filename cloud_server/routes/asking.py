"""Asking back: what an answer that is not sure enough asks the edge for, and what comes of it.

POST /v1/query, ask_back --sure enough--> 200
                         `--not sure----> 202 with `need`: cells, quality, handle
POST /v1/query/{handle}/enhancement ----> 200, about the finer picture
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from cloud_server.guard.bodies import media_type, read_body
from cloud_server.inference.image_store import Kept, OpenQuestion
from cloud_server.inference.need import QUALITY, cells_wanted, fine_already, most_cells
from cloud_server.inference.work import Work
from cloud_server.routes import results
from cloud_server.routes.admission import Admitted
from cloud_server.routes.documented import LAYERS, WORK, answer, problems
from cloud_server.routes.examples import ANSWER
from cloud_server.routes.forms import QuestionForm
from cloud_server.routes.sse import EventStream
from cloud_server.routes.works import image_info
from cloud_server.service import Service
from shared.bitstream import MAGIC as STREAM_MAGIC
from shared.bitstream import MEDIA_TYPE, Bitstream
from shared.bundle import find
from shared.errors import EnhancementCells, NotFound, RequestError
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement, read_layers
from shared.level_map import read_codes
from shared.schemas import ImageInfo, Need, QueryResponse

router = APIRouter(prefix="/v1")

MOST_LAYERS: Final = 4
"""Of a kept picture, its stream among them: each is decoded again with every enhancement."""
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "the enhancement of cells that were asked for",
                }
            }
        },
    }
}


def need_of(
    service: Service, caller: str, form: QuestionForm, work: Work, image: ImageInfo
) -> Need | None:
    """What is asked for after an answer; None where it is sure enough, or nothing can be had.

    Nothing is asked for about several pictures, pictures that came as other files, codecs that
    continue no stream, and pictures that are as fine everywhere as what would be asked for.
    """
    if not form.ask_back or work.answer is None or work.others or work.original is not None:
        return None
    confidence = results.confidence_of(service, work.answer)
    if confidence is None or confidence >= form.target_confidence:
        return None
    (picture,) = form.pictures
    image_id = picture if isinstance(picture, str) else ""
    layers = _layers_of(service, caller, picture)
    if not layers.startswith(STREAM_MAGIC):
        return None
    stream, enhancements = read_layers(layers, service.limits)
    continues = find(service.bundles, stream.codec_id).manifest.codec.conditional
    if not continues or 1 + len(enhancements) >= MOST_LAYERS:
        return None
    cells = cells_wanted(
        stream.width,
        stream.height,
        read_codes(stream)[1],
        work.answer.looked,
        most_cells(form.max_bytes),
        fine_already(stream, enhancements),
    )
    if cells is None:
        return None
    question = OpenQuestion(layers, image, form.prompt, form.max_new_tokens, cells, image_id)
    return Need(
        handle=service.images.put(caller, question),
        cells=base64.b64encode(cells.encode()).decode(),
        quality=QUALITY,
        expires_in_s=service.settings.image_ttl_s,
    )


def _layers_of(service: Service, caller: str, picture: bytes | str) -> bytes:
    """What a picture was decoded from; empty where it was kept, and is no more."""
    if isinstance(picture, bytes):
        return picture
    try:
        return service.images.get(caller, picture).layers
    except NotFound:  # its time ended while it was asked about: the answer is one all the same
        return b""


@router.post(
    "/query/{handle}/enhancement",
    response_model=QueryResponse,
    openapi_extra=_BODY,
    responses={200: answer(ANSWER), **problems(*WORK, *LAYERS, NotFound)},
)
async def enhance(
    request: Request, response: Response, handle: str, ticket: Admitted, stream: bool = False
) -> Any:
    """Answer a question again, about the picture with some cells finer.

    The handle is that of `need` in a provisional answer. It is good once: the same enhancement sent
    again gets the same answer, another one is refused. The enhancement holds cells that were asked
    for, or some of them, and continues the stream that the question came with. A picture that
    POST /v1/images has kept stays finer for the questions after this one. Nothing is asked back.
    `stream` is that of POST /v1/query.
    """
    service: Service = request.app.state.service
    if media_type(request) != MEDIA_TYPE:
        raise RequestError("the body is no enhancement", hint=f"send {MEDIA_TYPE}")
    settings = service.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    digest = hashlib.sha256(body).digest()

    async def make() -> QueryResponse:
        question = await _question(service, ticket.caller, handle)
        work, image = _continued(service, question, body)
        await results.finish(service, request, ticket, work)
        _settle(service, ticket.caller, handle, question, body, work, image)
        return results.answer_of(service, request, ticket, results.Reply(work, [image]))

    if stream:
        question = await _question(service, ticket.caller, handle)
        work, image = _continued(service, question, body)
        pieces = await results.stream(service, request, ticket, work)

        def reply() -> results.Reply:
            _settle(service, ticket.caller, handle, question, body, work, image)
            return results.Reply(work, [image])

        return EventStream(results.events(service, request, ticket, pieces, reply))
    name = f"enhancement of {handle[:64]}"
    kept, replayed = await service.answers.answer(ticket.caller, name, digest, make)
    if replayed:
        response.headers["idempotency-replayed"] = "true"
    return kept


async def _question(service: Service, caller: str, handle: str) -> OpenQuestion:
    """The open question of that handle, it and its kept picture here. Raises NotFound."""
    await service.bring(caller, handle)
    question = service.images.question(caller, handle)
    if question.image_id:
        await service.bring(caller, question.image_id)
    return question


def _continued(service: Service, question: OpenQuestion, body: bytes) -> tuple[Work, ImageInfo]:
    """The work about the finer picture, and what that is. Raises a StreamError."""
    stream, enhancements = read_layers(question.layers, service.limits)
    enhancement = Enhancement.from_bytes(body, service.limits)
    _check_cells(enhancement, question.cells, stream)
    work = Work(
        stream,
        question.prompt,
        question.max_new_tokens,
        enhancements=(*enhancements, enhancement),
        keeps_visual=bool(question.image_id),
    )
    return work, image_info(stream, question.image.bytes + len(body))


def _check_cells(enhancement: Enhancement, asked: Cells, stream: Bitstream) -> None:
    size = stream.width, stream.height
    if enhancement.cells:
        sent = Cells.decode(enhancement.cells, *size).mask(*size)
        if not (sent & ~asked.mask(*size)).any():
            return
    raise EnhancementCells(
        "the enhancement holds cells that were not asked for",
        hint="send those that `need` names, or some of them",
    )


def _settle(
    service: Service,
    caller: str,
    handle: str,
    question: OpenQuestion,
    body: bytes,
    work: Work,
    image: ImageInfo,
) -> None:
    """Close a question that was answered, and keep its finer picture where the first was kept."""
    try:
        service.images.close(caller, handle)
    except NotFound:  # its time ended while it was answered
        return
    if question.image_id and work.visual is not None:
        better = Kept(work.visual, image, question.layers + body)
        service.images.improve(caller, question.image_id, better)
