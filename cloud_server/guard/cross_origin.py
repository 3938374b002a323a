"""Pages of other origins that may ask: none, unless `COTAM_CORS_ORIGINS` names theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from cloud_server.guard.idempotency import IDEMPOTENCY_KEY
from cloud_server.guard.request_id import HEADER

_REMEMBERED_S: Final = 3600  # how long a browser need not ask again whether it may


def allow(app: FastAPI, origins: Sequence[str]) -> None:
    """Answer pages of these origins, as https://example.org; "*" are all.

    Keys are sent by the page itself, never by the browser: cookies are not allowed.
    """
    if not origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", IDEMPOTENCY_KEY, HEADER],
        expose_headers=["retry-after", "idempotency-replayed", HEADER],
        max_age=_REMEMBERED_S,
    )
