"""The HTTP of a query, without a connection: what both clients send and how they read answers.

    Query --request_of--> POST /v1/query --answer_of--> QueryResponse, or an error of the tree

Nothing here opens a connection.
"""

from __future__ import annotations

import base64
import email.utils
import time
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from edge_client.server.query import Query
from shared.bitstream import MEDIA_TYPE, Bitstream
from shared.errors import (
    BodyTooLarge,
    BundleUnknown,
    CotamError,
    DeadlineExceeded,
    KeyMissing,
    KeyRefused,
    NotFound,
    Overloaded,
    RateLimited,
    StreamError,
    UpstreamError,
)
from shared.frames import MAGIC as CLIP_MAGIC
from shared.frames import MEDIA_TYPE as CLIP_MEDIA_TYPE
from shared.layers.cells import Cells
from shared.query_body import join_body
from shared.schemas import (
    PROBLEM_MEDIA_TYPE,
    Need,
    Problem,
    QueryResponse,
    error_from,
)

QUERY: Final = "/v1/query"
KEY_HEADER: Final = "Idempotency-Key"
REQUEST_ID_HEADER: Final = "x-request-id"

Model = TypeVar("Model", bound=BaseModel)

# For answers that are not ours: a proxy's, a load balancer's.
_BY_STATUS: Final[dict[int, type[CotamError]]] = {
    401: KeyMissing,
    403: KeyRefused,
    404: NotFound,
    413: BodyTooLarge,
    429: RateLimited,
    503: Overloaded,
    504: DeadlineExceeded,
}


def request_of(query: Query, grows: bool = False) -> dict[str, Any]:
    """Arguments of httpx's `build_request`. grows: the answer is wanted as it comes."""
    options: dict[str, str | int] = {}
    if query.max_new_tokens is not None:
        options["max_new_tokens"] = query.max_new_tokens
    if grows:
        options["stream"] = "true"
    elif query.ask_back is not None:
        options["ask_back"] = 1
        if query.ask_back.confidence is not None:
            options["target_confidence"] = f"{query.ask_back.confidence:g}"
        if query.ask_back.max_bytes is not None:
            options["max_bytes"] = query.ask_back.max_bytes
    if query.keep:
        options["keep"] = 1
    if query.continues:
        options["continues"] = query.continues
    media_type = CLIP_MEDIA_TYPE if query.stream.startswith(CLIP_MAGIC) else MEDIA_TYPE
    return {
        "method": "POST",
        "url": QUERY,
        "params": options,
        "content": join_body(query.prompt, query.streams),
        "headers": {"Content-Type": media_type, KEY_HEADER: query.key},
    }


def enhancement_of(handle: str, enhancement: bytes) -> dict[str, Any]:
    """The same for what a provisional answer asks for. It needs no key: its handle is one."""
    return {
        "method": "POST",
        "url": f"{QUERY}/{quote(handle, safe='')}/enhancement",
        "content": enhancement,
        "headers": {"Content-Type": MEDIA_TYPE},
    }


def cells_of(need: Need, stream: Bitstream) -> Cells:
    """The cells that an answer about a stream asks for. Raises UpstreamError for none."""
    try:
        payload = base64.b64decode(need.cells, validate=True)
        return Cells.decode(payload, stream.width, stream.height)
    except (ValueError, StreamError) as error:
        raise UpstreamError(
            "the server asks for cells that the picture does not have",
            hint="check the server's version",
        ) from error


def answer_of(response: httpx.Response) -> QueryResponse:
    """The answer in a response that was read. Raises the error that the server reports."""
    return model_of(response, QueryResponse)


def model_of(response: httpx.Response, kind: type[Model]) -> Model:
    """What a response holds. Raises the error that the server reports, UpstreamError for no JSON
    of that kind."""
    check_status(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise UpstreamError(
            f"{response.url} answered, but not as a CoTAM server does: {where}: {first['msg']}",
            hint="check the server's address and version",
        ) from error


def check_status(response: httpx.Response) -> httpx.Response:
    """The response as it is. Raises the error of one that is no success, with its request id."""
    if response.is_success:
        return response
    error = _error_of(response)
    error.request_id = error.request_id or response.headers.get(REQUEST_ID_HEADER, "")
    error.retry_after = _retry_after(response)
    raise error


def _error_of(response: httpx.Response) -> CotamError:
    media_type = response.headers.get("content-type", "").split(";")[0].strip()
    if media_type == PROBLEM_MEDIA_TYPE:
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            pass
        else:
            error = error_from(problem)
            if isinstance(error, BundleUnknown) and problem.bundles and not error.hint:
                error.hint = f"the server has: {', '.join(problem.bundles)}"
            if isinstance(error, KeyMissing | KeyRefused):
                error.hint = "set COTAM_API_KEY, or give another api_key"
            return error
    if response.has_redirect_location:
        return UpstreamError(
            f"{response.url} has moved", hint=f"it points to {response.headers['location']}"
        )
    kind = _BY_STATUS.get(response.status_code, UpstreamError)
    return kind(
        f"{response.url} answered {response.status_code} {response.reason_phrase}",
        hint="that was no CoTAM server, or a proxy before it",
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of the Retry-After header, given as a number or a date; None for none of use."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
