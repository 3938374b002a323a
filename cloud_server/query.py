"""POST /v1/query: a bitstream and a question in, an answer out."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response

from cloud_server import replays
from cloud_server.admission import Admitted, Ticket
from cloud_server.asking import done
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

if TYPE_CHECKING:
    from cloud_server.engine import Work

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
async def query(request: Request, response: Response, ticket: Admitted) -> QueryResponse:
    """Answer a question about a picture."""
    from cloud_server.engine import Work

    service: Service = request.app.state.service
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
    image = image_info(stream, len(form["bitstream"]))

    async def make() -> QueryResponse:
        work = await done(service, request, ticket, Work(stream, prompt, count))
        return answer_of(service, request, ticket, work, image)

    key = request.headers.get(replays.HEADER, "")
    answer, again = await service.replays.answer(ticket.caller, key, _digest(form), make)
    if again:
        response.headers["idempotency-replayed"] = "true"
    return answer


def answer_of(
    service: Service, request: Request, ticket: Ticket, work: Work, image: ImageInfo
) -> QueryResponse:
    """The answer to a work that is done."""
    assert work.answer is not None
    assert work.seen is not None
    total = 1000 * (asyncio.get_running_loop().time() - ticket.came)
    return QueryResponse(
        id=request_id_of(request.scope),
        answer=work.answer.text,
        model=service.model().id,
        view=work.seen.view,
        image=image,
        usage=Usage(
            prompt_tokens=work.answer.prompt_tokens,
            completion_tokens=work.answer.completion_tokens,
        ),
        timings_ms=Timings(
            decode=round(work.times["decode"], 3),
            vision=round(work.times["vision"], 3),
            generate=round(work.times["generate"], 3),
            total=round(total, 3),
        ),
    )


def _digest(form: Mapping[str, bytes]) -> bytes:
    """Names a form by its content, whatever the order of its fields."""
    digest = hashlib.sha256()
    for name in sorted(form):
        digest.update(f"{name} {len(form[name])} ".encode())
        digest.update(form[name])
    return digest.digest()


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
