"""The OpenAPI document of the service, and the page of the documentation that is made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI

from cloud_server.guard.http_head import MOST_BYTES
from cloud_server.guard.problems import ErrorBody
from cloud_server.routes.schemas import request_schemas

_ANSWERS: Final = (
    "QueryResponse",
    "Need",
    "ImageInfo",
    "Usage",
    "Timings",
    "KeptImage",
    "ChatCompletion",
    "Shown",
    "Finer",
    "Levels",
    "Jpeg",
    "Problem",
    "OpenAIError",
)


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 with every error as a problem, and the key where one is asked for."""
    api = app.openapi()
    components = api.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem, **request_schemas()}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for _, operation in _operations(api):
        responses = operation["responses"]
        for status, response in list(responses.items()):
            if status.startswith("2"):
                response["description"] = "The answer."
            elif "application/json" in response["content"]:
                del responses[status]  # the framework's own form of an error
        if "401" in responses:
            operation["security"] = [{"key": []}, {}]
    return api


def page(api: dict[str, Any]) -> str:
    """The document as Markdown."""
    lines = [
        "# HTTP interface",
        "",
        "Made from the OpenAPI document of the server by `cloud_server api`; a running server has",
        "it at `/openapi.json`. Errors are problem+json (RFC 9457): `code` is stable, `hint` says",
        "what to do, `instance` is the request id, which is also in the header `x-request-id` of",
        "every answer; `error` says the same in the form that OpenAI's clients read. Where a key",
        "is asked for, it is sent as `Authorization: Bearer KEY`. Line and headers of a request",
        f"have at most {MOST_BYTES} bytes together. Requests to paste into a shell are in [HTTP by",
        "example](http.md).",
    ]
    for name, operation in _operations(api):
        method, path = name.split(" ")
        lines += ["", f"## {method.upper()} {path}", "", operation.get("description", "")]
        lines += _fields(api, operation)
        lines += ["", "| status | what |", "|---|---|"]
        for status, response in sorted(operation["responses"].items()):
            kinds = ", ".join(f"`{kind}`" for kind in response.get("content", {}))
            lines.append(f"| {status} | {response['description']} {kinds}".rstrip() + " |")
    lines += ["", "## Answers", ""]
    schemas = api["components"]["schemas"]
    for name in (name for name in _ANSWERS if name in schemas):
        schema = schemas[name]
        lines += [f"### {name}", "", schema.get("description", ""), ""]
        lines += [_row(field, about) for field, about in schema["properties"].items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _operations(api: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def _fields(api: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The parameters and the fields of a body, one a line."""
    lines = []
    for about in operation.get("parameters", []):
        if about["in"] == "query":
            lines += ["", _row(f"?{about['name']}", about["schema"])]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(api, content["schema"])
        lines += ["", f"Body: `{kind}`"]
        if "properties" not in schema:
            lines[-1] += f": {schema['description']}" if "description" in schema else ""
            continue
        lines.append("")
        needed = schema.get("required", [])
        for name, about in schema["properties"].items():
            lines.append(_row(name, about) + (" (required)" if name in needed else ""))
    return lines


def _resolved(api: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the one of the components that it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return api["components"]["schemas"][name] if name else schema


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(about: dict[str, Any]) -> str:
    return str(about.get("format") or about.get("type") or about.get("$ref", "").rpartition("/")[2])


def _row(name: str, about: dict[str, Any]) -> str:
    kind = " or ".join(_kind(schema) for schema in about.get("anyOf", [about]))
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
