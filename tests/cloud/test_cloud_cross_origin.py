"""Pages of other origins: refused by silence, unless their origin is named."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from cloud_server.settings import load_settings
from shared.bitstream import MEDIA_TYPE
from shared.errors import UsageError
from shared.query_body import join_body

Serve = Callable[..., str]
PAGE = "https://page.example"
ALLOWED = "access-control-allow-origin"


def may_ask(url: str, origin: str) -> httpx.Response:
    """What a browser asks before it sends a question of a page."""
    return httpx.options(
        f"{url}/v1/query",
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )


def test_nobody_is_allowed_by_default(server_url: str) -> None:
    assert ALLOWED not in may_ask(server_url, PAGE).headers
    assert ALLOWED not in httpx.get(f"{server_url}/v1/models", headers={"origin": PAGE}).headers


def test_a_named_origin_may_ask(serve: Serve, stream: bytes) -> None:
    url = serve(cors_origins=f"{PAGE}, http://localhost:3000")
    asked = may_ask(url, PAGE)
    assert (asked.status_code, asked.headers[ALLOWED]) == (200, PAGE)
    assert "access-control-allow-credentials" not in asked.headers
    assert ALLOWED not in may_ask(url, "https://other.example").headers

    headers = {"origin": PAGE, "content-type": MEDIA_TYPE}
    body = join_body("how many cars?", [stream])
    answer = httpx.post(f"{url}/v1/query", content=body, headers=headers, timeout=300)
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, PAGE)
    refused = httpx.post(f"{url}/v1/query", content=b"no stream", headers=headers)
    assert (refused.status_code, refused.headers[ALLOWED]) == (400, PAGE), "errors can be read"


@pytest.mark.parametrize(
    "wrong", ["page.example", "https://page.example/path", "https://*.example"]
)
def test_what_is_no_origin_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="COTAM_CORS_ORIGINS"):
        load_settings(cors_origins=wrong)
