"""POST /v1/query: a bitstream and a question in, an answer out. POST /v1/images: only the first."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from cloud_server.guard.idempotency import IDEMPOTENCY_KEY
from cloud_server.inference.image_store import Kept
from cloud_server.routes import results
from cloud_server.routes.admission import Admitted, Caller
from cloud_server.routes.asking import need_of
from cloud_server.routes.documented import KEY, WORK, answer, problems
from cloud_server.routes.examples import ANSWER, KEPT_IMAGE, PROVISIONAL
from cloud_server.routes.forms import PictureForm, QuestionForm, described, read_form
from cloud_server.routes.sse import EventStream
from cloud_server.routes.works import Keeping, work_on, work_on_picture
from cloud_server.service import Service
from shared.errors import BaseUnknown, NotFound
from shared.schemas import ImageInfo, QueryResponse

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
    responses={
        200: answer(ANSWER, stream=_EVENTS),
        202: {"model": QueryResponse, **answer(PROVISIONAL)},
        **problems(*WORK, NotFound, BaseUnknown),
    },
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

    With `ask_back=true` an answer of less than `target_confidence` is provisional: it comes with
    202, or as the event `need` in place of `done`, and `need` names the cells of the picture that
    would make it surer. POST /v1/query/{handle}/enhancement takes them; nobody need send them. It
    is asked once a question, of one picture that came as a stream of a codec that goes on.

    With `keep=true` the last frame of a clip is kept under the `image_id` of the answer, and the
    next clip may go on from it: `continues` names that id, the clip the check of the frame. It then
    keeps its id for another while. Where that frame is not here any more, or is another, the answer
    is `base_unknown`: send a clip that begins with a keyframe.
    """
    service: Service = request.app.state.service
    form = await read_form(request, QuestionForm)
    keeping = Keeping(form.continues, form.keep)
    work, images = await work_on(service, ticket, form.pictures, keeping)
    work.prompt, work.max_new_tokens = form.prompt, form.max_new_tokens

    def reply() -> results.Reply:
        need = need_of(service, ticket.caller, form, work, images[0])
        image_id = ""
        if work.frame is not None:
            image_id = service.images.move_on(ticket.caller, form.continues, work.frame)
        return results.Reply(work, images, need, image_id)

    if form.stream:
        pieces = await results.stream(service, request, ticket, work)
        return EventStream(results.events(service, request, ticket, pieces, reply))

    async def make() -> QueryResponse:
        await results.finish(service, request, ticket, work)
        return results.answer_of(service, request, ticket, reply())

    key = request.headers.get(IDEMPOTENCY_KEY, "")
    kept, replayed = await service.answers.answer(ticket.caller, key, form.digest, make)
    if replayed:
        response.headers["idempotency-replayed"] = "true"
    if kept.need is not None:
        response.status_code = 202
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
    layers = form.bitstream if work.original is None else b""
    image_id = service.images.put(ticket.caller, Kept(work.visual, image, layers))
    return KeptImage(image_id=image_id, expires_in_s=service.settings.image_ttl_s, image=image)


@router.delete("/images/{image_id}", status_code=204, responses=problems(*KEY, NotFound))
async def forget_image(request: Request, image_id: str, caller: Caller) -> None:
    """Forget a picture before its time is over."""
    service: Service = request.app.state.service
    await service.bring(caller, image_id)
    service.images.delete(caller, image_id)
