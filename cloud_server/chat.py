"""POST /v1/chat/completions: the form that OpenAI's clients speak, pictures as our streams.

A picture is a `data:application/vnd.cotam;base64,` URL. No other URL is ever looked at: a server
that fetches URLs for strangers is a way into the network that it stands in.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_server.admission import Admitted
from cloud_server.asking import done, pieces
from cloud_server.bodies import read_body
from cloud_server.events import EventStream, begun, event
from cloud_server.forms import check_prompt, image_info
from cloud_server.request_id import request_id_of
from cloud_server.service import Service
from cloud_server.work import Work
from shared.bitstream import MEDIA_TYPE
from shared.errors import CotamError, FieldInvalid, NotFound
from shared.schemas import DEFAULT_NEW_TOKENS, MAX_NEW_TOKENS, problem_of

router = APIRouter(prefix="/v1")

DATA_URL: Final = f"data:{MEDIA_TYPE};base64,"
MOST_MESSAGES: Final = 8


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Url(_Part):
    url: str


class _Text(_Part):
    type: Literal["text"]
    text: str


class _Picture(_Part):
    type: Literal["image_url"]
    image_url: _Url


class _Message(_Part):
    role: Literal["system", "developer", "user"]
    content: str | list[_Text | _Picture]

    def parts(self) -> list[_Text | _Picture]:
        if isinstance(self.content, str):
            return [_Text(type="text", text=self.content)]
        return self.content


class _StreamOptions(_Part):
    include_usage: bool = False


class ChatRequest(_Part):
    """What is used of OpenAI's request; answers are greedy, so sampling fields have no effect."""

    model: str
    messages: list[_Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    n: Literal[1] = 1
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()

    def prompt(self) -> str:
        """The texts of all messages, in their order. Raises FieldInvalid."""
        texts = [p.text for m in self.messages for p in m.parts() if isinstance(p, _Text)]
        return check_prompt("\n".join(texts))

    def picture(self) -> bytes:
        """The stream of the one picture. Raises FieldInvalid."""
        urls = [
            p.image_url.url for m in self.messages for p in m.parts() if isinstance(p, _Picture)
        ]
        if len(urls) != 1:
            raise FieldInvalid(f"messages hold {len(urls)} pictures: one is taken")
        if not urls[0].startswith(DATA_URL):
            raise FieldInvalid(
                "the picture is no CoTAM stream; this server fetches no URLs",
                hint=f"send {DATA_URL}... with what edge_client encode writes",
            )
        try:
            return base64.b64decode(urls[0][len(DATA_URL) :], validate=True)
        except binascii.Error as error:
            raise FieldInvalid("the picture's base64 is damaged") from error


_EXAMPLE: Final[dict[str, Any]] = {
    "model": "tiny",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"{DATA_URL}x1QB..."}},
                {"type": "text", "text": "how many cars?"},
            ],
        }
    ],
    "max_tokens": DEFAULT_NEW_TOKENS,
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}},
                        "max_tokens": {"type": "integer", "minimum": 1, "maximum": MAX_NEW_TOKENS},
                        "stream": {"type": "boolean", "default": False},
                    },
                },
                "example": _EXAMPLE,
            }
        },
    }
}


@router.post("/chat/completions", openapi_extra=_BODY, response_model=dict[str, Any])
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
    count = asked.max_completion_tokens or asked.max_tokens or DEFAULT_NEW_TOKENS
    work = Work(stream, asked.prompt(), count)
    head = {
        "id": f"chatcmpl-{request_id_of(request.scope)}",
        "created": int(time.time()),
        "model": model,
    }
    if asked.stream:
        texts = await begun(pieces(service, request, ticket, work))
        usage = asked.stream_options.include_usage
        return EventStream(_chunks(request, head, work, texts, usage))
    await done(service, request, ticket, work)
    assert work.answer is not None
    message = {"role": "assistant", "content": work.answer.text}
    choice = {"index": 0, "message": message, "finish_reason": work.answer.finish}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(work)}


async def _read(request: Request, service: Service) -> ChatRequest:
    # base64 makes 4 bytes of 3; the rest is room for the text around it.
    limit = service.settings.max_body_bytes * 4 // 3 + (1 << 16)
    body = await read_body(request, limit, service.settings.body_timeout_s)
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
            yield chunk({}, choices=[], usage=_usage(work))
        yield event("[DONE]")
    except CotamError as error:
        request.app.state.service.metrics.failed(error.code)
        problem = problem_of(error, request_id_of(request.scope))
        yield event(json.dumps({"error": problem.model_dump()}))


def _usage(work: Work) -> dict[str, int]:
    assert work.answer is not None
    asked, given = work.answer.prompt_tokens, work.answer.completion_tokens
    return {
        "prompt_tokens": asked,
        "completion_tokens": given,
        "total_tokens": asked + given,
    }
