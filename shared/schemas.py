"""What travels as JSON between the two ends. Field names here are the public interface."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import CotamError, error_of, http_status

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_OPENAI_TYPE: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}

View = Literal["adapter", "picture", "original"]
"""What the language model saw: adapted latents on top of the decoded picture, that alone, or an
ordinary picture as it was sent."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class ImageInfo(_Model):
    """A picture: pixels, bytes on the wire, bits per pixel, and the id of its codec; of an ordinary
    one png, jpeg or webp."""

    width: int
    height: int
    bytes: int
    bpp: float
    codec: str


class Usage(_Model):
    prompt_tokens: int
    completion_tokens: int


class Timings(_Model):
    """Milliseconds of each step on the server."""

    decode: float
    vision: float
    generate: float
    total: float


class Need(_Model):
    """What would make an answer surer: send it to POST /v1/query/{handle}/enhancement."""

    handle: str
    cells: str = Field(description="base64 of a level map of two levels: 1 for cells to be finer")
    quality: float = Field(description="0 to 9, of these cells")
    expires_in_s: float


class QueryResponse(_Model):
    """The answer to POST /v1/query."""

    id: str = Field(description="request id, also in the x-request-id header")
    answer: str
    model: str
    view: View = Field(
        description="what was seen: adapted latents, the decoded picture alone, or an ordinary one"
    )
    image: ImageInfo = Field(description="the picture, the first where several were sent")
    images: list[ImageInfo] = Field(default=[], description="all of several pictures")
    usage: Usage
    timings_ms: Timings
    confidence: float | None = Field(
        default=None,
        description="how probable it is that the answer is right, 0..1; null where the model "
        "tells nothing of it",
    )
    need: Need | None = Field(
        default=None, description="with 202: what would make this provisional answer surer"
    )
    image_id: str = Field(
        default="", description="with keep: of the last frame, which the next clip may go on from"
    )


class ModelInfo(_Model):
    """A model that answers, and what a device should code for it with."""

    id: str
    object: Literal["model"] = "model"
    view: View
    bundles: list[str] = Field(description="ids to fetch, the one to code with first")
    codecs: list[str] = Field(default=[], description="ids that a stream may name")
    resolution: int = Field(default=0, description="long side in pixels that is worth sending")


class ModelList(_Model):
    """The answer to GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class Health(_Model):
    status: Literal["ok", "starting", "draining"]


class Problem(_Model):
    """problem+json (RFC 9457) with our stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    instance: str = Field(default="", description="request id")
    bundles: list[str] = Field(default=[], description="with bundle_unknown: the ids that are here")


class OpenAIError(BaseModel):
    """An error in the form that OpenAI's clients read."""

    message: str
    type: str
    param: None = None
    code: str


def openai_error(error: CotamError, status: int) -> OpenAIError:
    """What stands under `error` in the body of a response with that status."""
    usual = "invalid_request_error" if status < 500 else "server_error"
    return OpenAIError(message=str(error), type=_OPENAI_TYPE.get(status, usual), code=error.code)


def problem_of(error: CotamError, request_id: str) -> Problem:
    """The problem that stands for an error."""
    title = error.code.replace("_", " ")
    return Problem(
        type=f"urn:cotam:error:{error.code}",
        title=title[:1].upper() + title[1:],
        status=http_status(error),
        detail=error.message,
        code=error.code,
        hint=error.hint,
        instance=request_id,
    )


def error_from(problem: Problem) -> CotamError:
    """The error that a problem stands for, with its hint and request id."""
    error = error_of(problem.code, problem.detail)
    error.hint = problem.hint
    error.request_id = problem.instance
    return error
