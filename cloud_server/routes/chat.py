"""POST /v1/chat/completions: the form that OpenAI's clients speak, pictures as our streams.

A picture is a `data:application/vnd.cotam;base64,` URL. No other URL is ever looked at: a server
that fetches URLs for strangers is a way into the network that it stands in.
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
from cloud_server.guard.request_id import request_id_of
from cloud_server.inference.work import Work
from cloud_server.routes.admission import Admitted
from cloud_server.routes.answering import done, pieces
from cloud_server.routes.forms import image_info
from cloud_server.routes.schemas import (
    EXAMPLE,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    ChatUsage,
    Choice,
)
from cloud_server.routes.sse import MEDIA_TYPE, EventStream, begun, event
from cloud_server.service import Service
from shared.errors import CotamError, FieldInvalid, NotFound
from shared.schemas import problem_of

router = APIRouter(prefix="/v1")

MOST_VALUES: Final = 20_000
"""Of a body: 21 MB of empty lists became a gigabyte of objects. Pictures and prompts hold fewer."""

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ChatRequest"},
                "example": EXAMPLE,
            }
        },
    }
}
_STREAM: Final[dict[str, Any]] = {
    "content": {
        MEDIA_TYPE: {
            "example": 'data: {"object": "chat.completion.chunk", ...}\n\ndata: [DONE]\n\n',
        }
    }
}


@router.post(
    "/chat/completions",
    openapi_extra=_BODY,
    response_model=ChatCompletion,
    responses={200: _STREAM},
)
async def chat(request: Request, ticket: Admitted) -> Any:
    """Answer a question about a picture, in the form of OpenAI's chat completions."""
    service: Service = request.app.state.service
    asked = await _read(request, service)
    model = service.model().id
    if asked.model not in ("", model):
        raise NotFound(f"there is no model {asked.model[:64]!r}", hint=f"there is {model!r}")
    raw = asked.picture()
    stream = service.parse(raw)
    service.metrics.received(image_info(stream, len(raw)))
    work = Work(stream, asked.prompt(), asked.count())
    head: dict[str, Any] = {
        "id": f"chatcmpl-{request_id_of(request.scope)}",
        "created": int(time.time()),
        "model": model,
    }
    if asked.stream:
        texts = await begun(pieces(service, request, ticket, work))
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return EventStream(_chunks(request, head, work, texts, usage))
    await done(service, request, ticket, work)
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
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise FieldInvalid(f"{where}: {first['msg']}") from error


async def _chunks(
    request: Request,
    head: dict[str, Any],
    work: Work,
    texts: AsyncGenerator[str, None],
    usage: bool,
) -> AsyncGenerator[bytes, None]:
    def chunk(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        body = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return event(json.dumps(body))

    try:
        yield chunk({"role": "assistant", "content": ""})
        async with aclosing(texts) as source:
            async for text in source:
                if text:
                    yield chunk({"content": text})
        assert work.answer is not None
        yield chunk({}, work.answer.finish)
        if usage:
            yield chunk({}, choices=[], usage=_usage(work).model_dump())
        yield event("[DONE]")
    except CotamError as error:
        request.app.state.service.metrics.failed(error.code)
        problem = problem_of(error, request_id_of(request.scope))
        # `message` is what OpenAI's clients show.
        yield event(json.dumps({"error": {"message": str(error), **problem.model_dump()}}))


def _usage(work: Work) -> ChatUsage:
    assert work.answer is not None
    asked, given = work.answer.prompt_tokens, work.answer.completion_tokens
    return ChatUsage(prompt_tokens=asked, completion_tokens=given, total_tokens=asked + given)
