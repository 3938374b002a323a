"""The OpenAPI document of the service, and the page of the documentation that is made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI

from cloud_server.guard.heads import MOST_BYTES
from cloud_server.routes.examples import ANSWERS
from cloud_server.routes.schemas import request_schemas
from shared.errors import (
    BodyTooLarge,
    BundleCorrupt,
    BundleUnknown,
    CotamError,
    DeadlineExceeded,
    DecoderMismatch,
    FieldInvalid,
    KeyMissing,
    KeyRefused,
    NotFound,
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
from shared.schemas import PROBLEM_MEDIA_TYPE, Problem, problem_of

_HEAD: Final = (RequestError,)
_KEY: Final = (*_HEAD, KeyMissing, KeyRefused)
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
_WORK: Final = (*_KEY, *_PLACE, *_STREAM, FieldInvalid, UpstreamError)
ERRORS: Final[dict[str, tuple[type[CotamError], ...]]] = {
    "get /livez": (*_HEAD, NotReady),
    "get /readyz": (*_HEAD, NotReady),
    "get /metrics": _KEY,
    "get /v1/models": (*_KEY, NotReady),
    "post /v1/query": (*_WORK, NotFound),
    "post /v1/images": _WORK,
    "delete /v1/images/{image_id}": (*_KEY, NotFound),
    "post /v1/chat/completions": (*_WORK, NotFound),
    "post /playground/pictures": (*_WORK, PictureUnreadable, PictureTooLarge),
    "get /v1/bundles/{bundle_id}": (*_KEY, NotFound, BundleCorrupt),
    "get /v1/bundles/{bundle_id}/files/{name}": (*_KEY, NotFound, BundleCorrupt),
}
"""What each operation may answer instead."""
_ANSWERS: Final = (
    "QueryResponse",
    "ImageInfo",
    "Usage",
    "Timings",
    "KeptImage",
    "ChatCompletion",
    "Shown",
    "Levels",
    "Jpeg",
    "Problem",
)


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 with every error as a problem, and the key where one is asked for."""
    found = app.openapi()
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    schemas.update(request_schemas())
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for name, operation in _operations(found):
        for response in operation["responses"].values():
            response["description"] = "The answer."
            if name in ANSWERS and "application/json" in response.get("content", {}):
                response["content"]["application/json"]["example"] = ANSWERS[name]
        operation["responses"].pop("422", None)
        operation["responses"].update(_problems(ERRORS[name]))
        if KeyMissing in ERRORS[name]:
            operation["security"] = [{"key": []}, {}]
    return found


def page(found: dict[str, Any]) -> str:
    """The document as Markdown."""
    lines = [
        "# HTTP interface",
        "",
        "Made from the OpenAPI document of the server by `cloud_server api`; a running server has",
        "it at `/openapi.json`. Errors are problem+json (RFC 9457): `code` is stable, `hint` says",
        "what to do, `instance` is the request id, which is also in the header `x-request-id` of",
        "every answer. Where a key is asked for, it is sent as `Authorization: Bearer KEY`. Line",
        f"and headers of a request have at most {MOST_BYTES} bytes together.",
    ]
    for name, operation in _operations(found):
        method, path = name.split(" ")
        lines += ["", f"## {method.upper()} {path}", "", operation.get("description", "")]
        lines += _fields(found, operation)
        lines += ["", "| status | what |", "|---|---|"]
        for status, response in sorted(operation["responses"].items()):
            kinds = ", ".join(f"`{kind}`" for kind in response.get("content", {}))
            lines.append(f"| {status} | {response['description']} {kinds}".rstrip() + " |")
    lines += ["", "## Answers", ""]
    schemas = found["components"]["schemas"]
    for name in (name for name in _ANSWERS if name in schemas):
        schema = schemas[name]
        lines += [f"### {name}", "", schema.get("description", ""), ""]
        lines += [_row(field, about) for field, about in schema["properties"].items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _operations(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def _problems(errors: tuple[type[CotamError], ...]) -> dict[str, Any]:
    """Responses by status, the codes that share a status together."""
    by_status: dict[str, list[type[CotamError]]] = {}
    for error in errors:
        by_status.setdefault(str(http_status(error(""))), []).append(error)
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


def _fields(found: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The parameters and the fields of a body, one a line."""
    lines = []
    for about in operation.get("parameters", []):
        if about["in"] == "query":
            lines += ["", _row(f"?{about['name']}", about["schema"])]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(found, content["schema"])
        lines += ["", f"Body: `{kind}`"]
        if "properties" not in schema:
            continue
        lines.append("")
        needed = schema.get("required", [])
        for name, about in schema["properties"].items():
            lines.append(_row(name, about) + (" (required)" if name in needed else ""))
    return lines


def _resolved(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the one of the components that it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return found["components"]["schemas"][name] if name else schema


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(about: dict[str, Any]) -> str:
    return str(about.get("format") or about.get("type") or about.get("$ref", "").rpartition("/")[2])


def _row(name: str, about: dict[str, Any]) -> str:
    kind = " or ".join(_kind(one) for one in about.get("anyOf", [about]))
    if "enum" in about:
        kind = " or ".join(about["enum"])
    limits = [
        f"{word} {_plain(about[key])}"
        for key, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("maxLength", "at most"),
            ("default", "default"),
        )
        if about.get(key) not in (None, "", [])
    ]
    text = f": {about['description']}" if about.get("description") else ""
    return f"- `{name}` {', '.join([kind or 'any', *limits])}{text}"
