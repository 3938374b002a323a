"""Errors as problem+json (RFC 9457), each with the request's id, readable by OpenAI's clients."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cloud_server.guard.request_id import request_id_of
from shared.errors import (
    BundleUnknown,
    CotamError,
    FieldInvalid,
    KeyMissing,
    MethodNotAllowed,
    NotFound,
    RequestError,
)
from shared.schemas import PROBLEM_MEDIA_TYPE, OpenAIError, Problem, openai_error, problem_of

log = logging.getLogger(__name__)


class ErrorBody(Problem):
    """What an error is answered with: a problem, and the same for OpenAI's clients."""

    error: OpenAIError


def error_body(
    error: CotamError, request_id: str, bundles: Iterable[str] = (), status: int | None = None
) -> ErrorBody:
    """The body of an error; `bundles` are named where the stream's is not among them.

    status: where it is not that of the error's class.
    """
    problem = problem_of(error, request_id)
    if isinstance(error, BundleUnknown):
        problem.bundles = list(bundles)
    if status is not None:
        problem.status = status
    return ErrorBody(**problem.model_dump(), error=openai_error(error, problem.status))


def error_response(body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response:
    """The response that carries an error."""
    return Response(
        body.model_dump_json(),
        status_code=body.status,
        headers=dict(headers or {}),
        media_type=PROBLEM_MEDIA_TYPE,
    )


def headers_of(error: CotamError) -> dict[str, str]:
    """Retry-After in whole seconds, and how to authenticate."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, KeyMissing):
        headers["www-authenticate"] = "Bearer"
    return headers


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""

    async def of_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, CotamError)
        service = request.app.state.service
        service.metrics.failed(error.code)
        body = error_body(error, request_id_of(request.scope), service.bundle_ids())
        if body.status in (500, 502):
            log.warning("%s", error, exc_info=error.__cause__)
        return error_response(body, headers_of(error))

    async def of_starlette(request: Request, error: Exception) -> Response:
        """Unknown routes and methods."""
        assert isinstance(error, HTTPException)
        path = request.scope["path"]
        refusal: CotamError = RequestError(str(error.detail))
        if error.status_code == 404:
            refusal = NotFound(f"there is no {path}", hint="GET /openapi.json lists the routes")
        elif error.status_code == 405:
            hint = f"use {(error.headers or {}).get('Allow', '')}"
            refusal = MethodNotAllowed(f"{path} does not take {request.method}", hint=hint)
        request.app.state.service.metrics.failed(refusal.code)
        body = error_body(refusal, request_id_of(request.scope), status=error.status_code)
        return error_response(body, error.headers)

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return await of_ours(request, FieldInvalid(f"{where}: {first['msg']}"))

    app.add_exception_handler(CotamError, of_ours)
    app.add_exception_handler(HTTPException, of_starlette)
    app.add_exception_handler(RequestValidationError, of_validation)


def unexpected(error: Exception, request_id: str) -> Response:
    """500, without a word of what is inside; the log has it under the request's id."""
    log.error("unexpected error", exc_info=error)
    failure = CotamError("the server failed on this request", hint="the server's log says more")
    return error_response(error_body(failure, request_id))
