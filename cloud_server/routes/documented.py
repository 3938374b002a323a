"""What operations may answer, for the OpenAPI document: `responses=` of their routes."""

from __future__ import annotations

from typing import Any, Final

from cloud_server.routes.sse import MEDIA_TYPE
from shared.errors import (
    BodyTooLarge,
    BundleUnknown,
    CotamError,
    DeadlineExceeded,
    DecoderMismatch,
    EnhancementCells,
    EnhancementCoarse,
    EnhancementError,
    EnhancementForeign,
    FieldInvalid,
    KeyMissing,
    KeyRefused,
    NotReady,
    Overloaded,
    PictureTooLarge,
    PictureUnreadable,
    RateLimited,
    RequestError,
    StreamCorrupt,
    StreamForeign,
    StreamMalformed,
    StreamTooLarge,
    StreamTruncated,
    StreamUnknownChunk,
    StreamVersion,
    UpstreamError,
    http_status,
)
from shared.schemas import PROBLEM_MEDIA_TYPE, problem_of

Responses = dict[int | str, dict[str, Any]]

KEY: Final = (KeyMissing, KeyRefused)
_PLACE: Final = (RateLimited, NotReady, Overloaded, DeadlineExceeded)
_STREAM: Final = (
    StreamForeign,
    StreamVersion,
    StreamTruncated,
    StreamCorrupt,
    StreamMalformed,
    StreamUnknownChunk,
    BundleUnknown,
    BodyTooLarge,
    StreamTooLarge,
    DecoderMismatch,
)
LAYERS: Final = (EnhancementError, EnhancementForeign, EnhancementCells, EnhancementCoarse)
"""Errors of what continues a picture."""
_PICTURE: Final = (PictureUnreadable, PictureTooLarge)
WORK: Final = (*KEY, *_PLACE, *_STREAM, *_PICTURE, FieldInvalid, UpstreamError)
"""Errors of every operation that takes a picture."""


def answer(example: dict[str, Any], stream: str = "") -> dict[str, Any]:
    """The answer itself, also as server-sent events where there is an example of those."""
    content: dict[str, Any] = {"application/json": {"example": example}}
    if stream:
        content[MEDIA_TYPE] = {"example": stream}
    return {"content": content}


def problems(*errors: type[CotamError]) -> Responses:
    """Problems by status, the codes that share a status together; any head may be too long."""
    by_status: dict[int, list[type[CotamError]]] = {}
    every: tuple[type[CotamError], ...] = (RequestError, *errors)
    for error in every:
        by_status.setdefault(http_status(error("")), []).append(error)
    return {
        status: {
            "description": ", ".join(f"`{error.code}`" for error in group),
            "content": {
                PROBLEM_MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": problem_of(group[0]("what is wrong"), "4f1c...").model_dump(),
                }
            },
        }
        for status, group in by_status.items()
    }
