"""POST /v1/chat/completions: the form that OpenAI's clients speak, pictures as our streams.

A picture is a `data:application/vnd.cotam;base64,` URL, or one of PNG, JPEG or WebP where the
settings allow it. Nothing is ever fetched: a server that fetches URLs for strangers is a way into
the network that it stands in.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import ValidationError

from cloud_server.guard.bodies import read_body
from cloud_server.guard.problems import error_body
from cloud_server.guard.request_id import request_id_of
from cloud_server.inference.work import Work
from cloud_server.routes import results
from cloud_server.routes.admission import Admitted
from cloud_server.routes.documented import WORK, answer, problems
from cloud_server.routes.examples import CHAT_ANSWER, CHAT_REQUEST
from cloud_server.routes.forms import field_invalid
from cloud_server.routes.schemas import (
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    ChatUsage,
    Choice,
)
from cloud_server.routes.sse import EventStream, as_event
from cloud_server.routes.works import work_on
from cloud_server.service import Service
from shared.errors import BaseUnknown, CotamError, FieldInvalid, NotFound

router = APIRouter(prefix="/v1")

MOST_VALUES: Final = 20_000
"""Of a body: 21 MB of empty lists became a gigabyte of objects. Pictures and prompts hold fewer."""

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ChatRequest"},
                "example": CHAT_REQUEST,
            }
        },
    }
}
_CHUNKS: Final = 'data: {"object": "chat.completion.chunk", ...}\n\ndata: [DONE]\n\n'


@router.post(
    "/chat/completions",
    openapi_extra=_BODY,
    response_model=ChatCompletion,
    responses={200: answer(CHAT_ANSWER, stream=_CHUNKS), **problems(*WORK, NotFound, BaseUnknown)},
)
async def chat(request: Request, ticket: Admitted) -> Any:
    """Answer a question about pictures, in the form of OpenAI's chat completions.

    The last message is the question. Earlier ones are told to the model as turns of the talk;
    `system` and `developer` belong to the user's next. The pictures of a turn come before its text.
    """
    service: Service = request.app.state.service
    body = await _read(request, service)
    model = service.require_model(body.model) if body.model else service.model()
    prompt, history = body.conversation()
    pictures = body.pictures(plain=service.settings.plain_pictures)
    work, _ = await work_on(service, ticket, pictures)
    work.prompt, work.history = prompt, history
    work.max_new_tokens = body.count()
    head: dict[str, Any] = {
        "id": f"chatcmpl-{request_id_of(request.scope)}",
        "created": int(time.time()),
        "model": model.id,
    }
    if body.stream:
        pieces = await results.stream(service, request, ticket, work)
        usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(_chunks(request, head, work, pieces, usage))
    await results.finish(service, request, ticket, work)
    assert work.answer is not None
    message = ChatMessage(content=work.answer.text)
    choice = Choice(message=message, finish_reason=work.answer.finish)
    return ChatCompletion(**head, choices=[choice], usage=_usage(work))


async def _read(request: Request, service: Service) -> ChatRequest:
    # base64 makes 4 bytes of 3; the rest is room for the text around it.
    limit = service.settings.max_body_bytes * 4 // 3 + (1 << 16)
    body = await read_body(request, limit, service.settings.body_timeout_s)
    if sum(body.count(mark) for mark in (b"[", b"{", b",")) > MOST_VALUES:
        raise FieldInvalid(f"the body holds more than {MOST_VALUES} values")
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise field_invalid(error) from error


async def _chunks(
    request: Request,
    head: dict[str, Any],
    work: Work,
    pieces: AsyncGenerator[str, None],
    usage: bool,
) -> AsyncGenerator[bytes, None]:
    def chunk(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        body = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return as_event(json.dumps(body))

    try:
        yield chunk({"role": "assistant", "content": ""})
        async with aclosing(pieces):
            async for text in pieces:
                yield chunk({"content": text})
        assert work.answer is not None
        yield chunk({}, work.answer.finish)
        if usage:
            yield chunk({}, choices=[], usage=_usage(work).model_dump())
        yield as_event("[DONE]")
    except CotamError as error:
        request.app.state.service.metrics.failed(error.code)
        # An object `error` in a chunk is what OpenAI's clients raise.
        yield as_event(error_body(error, request_id_of(request.scope)).model_dump_json())


def _usage(work: Work) -> ChatUsage:
    assert work.answer is not None
    prompt, completion = work.answer.prompt_tokens, work.answer.completion_tokens
    return ChatUsage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )
