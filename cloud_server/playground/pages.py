"""GET / and what the page needs: a fixed table of files, under a policy that lets in nothing else.

What `make web` built of the edge for browsers is served where it is there: the page then codes, and
its policy lets it compile WebAssembly.

Files are served without a key: they hold nothing that is not in the package. Whatever the page asks
of the service needs one as ever.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

STATIC: Final = Path(__file__).parent / "static"
WEB: Final = Path(__file__).parent / "web"
MODULE: Final = "cotam-edge.js"
PAGE: Final = "index.html"
EXAMPLES: Final = "examples.json"
HEADERS: Final = {
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
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
_PACKED: Final = ".gz"


def pages(web: Path = WEB) -> APIRouter:
    """Routes of the page and of its files, which are read once, here.

    web: where the edge for browsers was built; it need not be there.
    """
    built = sorted(web.iterdir()) if (web / MODULE).is_file() else []
    headers = {**HEADERS, "content-security-policy": _policy(may_compile=bool(built))}
    router = APIRouter(include_in_schema=False)

    def add(path: str, raw: bytes, kind: str, packed: bool = False) -> None:
        router.add_api_route(path, _serving(raw, kind, headers, packed), methods=["GET"])

    for file in sorted(STATIC.iterdir()):
        path = "/" if file.name == PAGE else f"/playground/{file.name}"
        add(path, file.read_bytes(), _KINDS[file.suffix])
    for file in built:
        name = file.name.removesuffix(_PACKED)
        kind = _KINDS[Path(name).suffix]
        add(f"/playground/web/{name}", file.read_bytes(), kind, name != file.name)
    module = json.dumps({"module": f"./web/{MODULE}" if built else None})
    add("/playground/edge.json", module.encode(), _KINDS[".json"])
    return router


def examples() -> dict[str, list[dict[str, str]]]:
    """Names of the example pictures, and what may be asked of each, with the right answers."""
    questions_of: dict[str, list[dict[str, str]]] = json.loads((STATIC / EXAMPLES).read_text())
    return questions_of


def _policy(may_compile: bool) -> str:
    """The content security policy; may_compile: WebAssembly, which is no license for scripts."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'" + (" 'wasm-unsafe-eval'" if may_compile else ""),
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _serving(
    raw: bytes, kind: str, common: dict[str, str], packed: bool
) -> Callable[[Request], Response]:
    """Answers with a file's bytes. packed: they are gzip, unpacked for whom does not read that."""
    headers = {**common, "etag": f'"{hashlib.sha256(raw).hexdigest()[:32]}"'}
    if packed:
        headers["vary"] = "accept-encoding"

    def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if not packed:
            return Response(raw, media_type=kind, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(raw, media_type=kind, headers={**headers, "content-encoding": "gzip"})
        return Response(gzip.decompress(raw), media_type=kind, headers=headers)

    return serve
