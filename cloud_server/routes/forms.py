"""The multipart forms of `/v1/query` and `/v1/images`, read, checked and documented."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request

from cloud_server.guard.bodies import read_form, text_field
from cloud_server.inference.work import Work
from cloud_server.service import Service
from shared.bitstream import Bitstream
from shared.errors import FieldInvalid
from shared.prompt import (
    DEFAULT_NEW_TOKENS,
    MAX_NEW_TOKENS,
    MAX_PROMPT_CHARACTERS,
    check_new_tokens,
    check_prompt,
)
from shared.schemas import ImageInfo

_BITSTREAM: Final[dict[str, Any]] = {
    "type": "string",
    "format": "binary",
    "description": "a picture, as `edge_client encode` writes it",
}
_TOKENS: Final[dict[str, Any]] = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_NEW_TOKENS,
    "default": DEFAULT_NEW_TOKENS,
}


def _document(required: list[str], properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties, **more}
    schema["additionalProperties"] = False
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


PICTURE_FORM: Final = _document(["bitstream"], {"bitstream": _BITSTREAM})
QUESTION_FORM: Final = _document(
    ["prompt"],
    {
        "bitstream": _BITSTREAM,
        "image_id": {
            "type": "string",
            "description": "in place of bitstream: a picture that POST /v1/images has kept",
        },
        "prompt": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_PROMPT_CHARACTERS,
            "pattern": r"\S",
            "example": "how many cars?",
        },
        "max_new_tokens": _TOKENS,
        "stream": {
            "type": "boolean",
            "default": False,
            "description": "answer with server-sent events: text, text, ..., done",
        },
    },
    oneOf=[{"required": ["bitstream"]}, {"required": ["image_id"]}],
)


@dataclass(frozen=True)
class Asked:
    """A question that is ready to be worked on. digest: 32 bytes that name what was sent."""

    work: Work
    image: ImageInfo
    stream: bool
    digest: bytes


async def read_question(request: Request, service: Service, caller: str) -> Asked:
    """The form of `/v1/query`. Raises FieldInvalid, StreamError, BundleUnknown or NotFound."""
    limits = {
        "bitstream": service.settings.max_body_bytes,
        "image_id": 64,
        "prompt": 4 * MAX_PROMPT_CHARACTERS,
        "max_new_tokens": 16,
        "stream": 16,
    }
    form = await _read(request, service, limits)
    if ("bitstream" in form) == ("image_id" in form):
        raise FieldInvalid("either bitstream or image_id is needed, and not both")
    prompt = check_prompt(text_field(form, "prompt"), FieldInvalid)
    count = _tokens(text_field(form, "max_new_tokens", str(DEFAULT_NEW_TOKENS)))
    streams = _flag("stream", text_field(form, "stream", "false"))
    if "image_id" in form:
        kept = service.images.get(caller, text_field(form, "image_id"))
        work, image = Work(None, prompt, count, seen=kept.seen), kept.image
    else:
        stream = service.parse(form["bitstream"])
        work, image = Work(stream, prompt, count), image_info(stream, len(form["bitstream"]))
        service.metrics.received(image)
    return Asked(work, image, streams, _digest(form))


async def read_picture(request: Request, service: Service) -> tuple[Work, ImageInfo]:
    """The form of `/v1/images`. Raises as `read_question`."""
    form = await _read(request, service, {"bitstream": service.settings.max_body_bytes})
    if "bitstream" not in form:
        raise FieldInvalid("the field bitstream is missing")
    stream = service.parse(form["bitstream"])
    image = image_info(stream, len(form["bitstream"]))
    service.metrics.received(image)
    return Work(stream), image


def image_info(stream: Bitstream, size: int) -> ImageInfo:
    """What a stream of `size` bytes is."""
    return ImageInfo(
        width=stream.width,
        height=stream.height,
        bytes=size,
        bpp=round(8 * size / (stream.width * stream.height), 6),
        codec=stream.codec_id.hex(),
    )


async def _read(request: Request, service: Service, limits: Mapping[str, int]) -> dict[str, bytes]:
    settings = service.settings
    return await read_form(request, limits, settings.max_body_bytes, settings.body_timeout_s)


def _tokens(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise FieldInvalid(f"max_new_tokens is {text!r}: 1..{MAX_NEW_TOKENS} are taken")
    return check_new_tokens(int(text), FieldInvalid)


def _flag(name: str, text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise FieldInvalid(f"{name} is {text!r}: true or false are taken")
    return values[text.lower()]


def _digest(form: Mapping[str, bytes]) -> bytes:
    """Names a form by its content, whatever the order of its fields."""
    digest = hashlib.sha256()
    for name in sorted(form):
        digest.update(f"{name} {len(form[name])} ".encode())
        digest.update(form[name])
    return digest.digest()
