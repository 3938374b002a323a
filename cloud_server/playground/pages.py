"""GET / and what the page needs: a fixed table of files, under a policy that lets in nothing else.

These are served without a key: they hold nothing that is not in the package. Whatever the page
asks of the service needs one as ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

STATIC: Final = Path(__file__).parent / "static"
PAGE: Final = "index.html"
EXAMPLES: Final = "examples.json"
HEADERS: Final = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-cache",
}
_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def pages() -> APIRouter:
    """Routes of the page and of its files, which are read once, here."""
    router = APIRouter(include_in_schema=False)
    for file in sorted(STATIC.iterdir()):
        path = "/" if file.name == PAGE else f"/playground/{file.name}"
        router.add_api_route(path, _serving(file), methods=["GET"])
    return router


def examples() -> dict[str, list[dict[str, str]]]:
    """Names of the example pictures, and what may be asked of each, with the right answers."""
    found: dict[str, list[dict[str, str]]] = json.loads((STATIC / EXAMPLES).read_text())
    return found


def _serving(file: Path) -> Callable[[Request], Response]:
    raw, kind = file.read_bytes(), _KINDS[file.suffix]
    headers = {**HEADERS, "etag": f'"{hashlib.sha256(raw).hexdigest()[:32]}"'}

    def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(raw, media_type=kind, headers=headers)

    return serve
