"""POST /v1/query: a bitstream and a question in, an answer out."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import APIRouter, Request

from cloud_server.bodies import read_form, text_field
from cloud_server.request_id import request_id_of
from cloud_server.service import Service
from shared.bitstream import Bitstream
from shared.errors import FieldInvalid
from shared.schemas import (
    DEFAULT_NEW_TOKENS,
    MAX_NEW_TOKENS,
    MAX_PROMPT_CHARACTERS,
    ImageInfo,
    QueryResponse,
    Timings,
    Usage,
)

router = APIRouter(prefix="/v1")

FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["bitstream", "prompt"],
                    "properties": {
                        "bitstream": {
                            "type": "string",
                            "format": "binary",
                            "description": "a picture, as edge_client encodes it",
                        },
                        "prompt": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": MAX_PROMPT_CHARACTERS,
                        },
                        "max_new_tokens": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": MAX_NEW_TOKENS,
                            "default": DEFAULT_NEW_TOKENS,
                        },
                        "stream": {"type": "boolean", "default": False},
                    },
                }
            }
        },
    }
}


@router.post("/query", response_model=QueryResponse, openapi_extra=FORM)
async def query(request: Request) -> QueryResponse:
    """Answer a question about a picture."""
    start = time.perf_counter()
    service: Service = request.app.state.service
    service.require_ready()
    settings = service.settings
    limits = {
        "bitstream": settings.max_body_bytes,
        "prompt": 4 * MAX_PROMPT_CHARACTERS,
        "max_new_tokens": 16,
        "stream": 16,
    }
    form = await read_form(request, limits, settings.max_body_bytes, settings.body_timeout_s)
    if "bitstream" not in form:
        raise FieldInvalid("the field bitstream is missing")
    prompt = check_prompt(text_field(form, "prompt"))
    count = new_tokens(text_field(form, "max_new_tokens", str(DEFAULT_NEW_TOKENS)))
    if flag("stream", text_field(form, "stream", "false")):
        raise FieldInvalid("stream=true is not served yet", hint="leave the field out")
    stream = service.parse(form["bitstream"])
    return await _answer(service, request, stream, len(form["bitstream"]), prompt, count, start)


async def _answer(
    service: Service,
    request: Request,
    stream: Bitstream,
    size: int,
    prompt: str,
    count: int,
    start: float,
) -> QueryResponse:
    from cloud_server.engine import Work

    work = await asyncio.wrap_future(service.submit(Work(stream, prompt, count)))
    if work.error is not None:
        raise work.error
    assert work.answer is not None and work.seen is not None
    return QueryResponse(
        id=request_id_of(request.scope),
        answer=work.answer.text,
        model=service.model().id,
        view=work.seen.view,
        image=image_info(stream, size),
        usage=Usage(
            prompt_tokens=work.answer.prompt_tokens,
            completion_tokens=work.answer.completion_tokens,
        ),
        timings_ms=Timings(
            **{name: round(value, 3) for name, value in work.times.items()},
            total=round(1000 * (time.perf_counter() - start), 3),
        ),
    )


def image_info(stream: Bitstream, size: int) -> ImageInfo:
    """Size of a stream's picture, and of its `size` bytes for each pixel."""
    return ImageInfo(
        width=stream.width,
        height=stream.height,
        bytes=size,
        bpp=round(8 * size / (stream.width * stream.height), 6),
        bundle=stream.bundle_id.hex(),
    )


def check_prompt(prompt: str) -> str:
    """A prompt within its limits. Raises FieldInvalid."""
    if not prompt.strip():
        raise FieldInvalid("prompt is empty", hint="ask something about the picture")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise FieldInvalid(
            f"prompt has {len(prompt)} characters, over the limit of {MAX_PROMPT_CHARACTERS}"
        )
    return prompt


def new_tokens(text: str) -> int:
    """max_new_tokens from its field. Raises FieldInvalid."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_NEW_TOKENS:
        raise FieldInvalid(f"max_new_tokens is {text!r}: 1..{MAX_NEW_TOKENS} are taken")
    return int(text)


def flag(name: str, text: str) -> bool:
    """A boolean field. Raises FieldInvalid."""
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise FieldInvalid(f"{name} is {text!r}: true or false are taken")
    return values[text.lower()]
