"""Example answers in the OpenAPI document. A test holds each against the model that it is of."""

from __future__ import annotations

from typing import Any, Final

_IMAGE: Final = {"width": 256, "height": 256, "bytes": 885, "bpp": 0.108032, "codec": "ac5b5b37"}
_USAGE: Final = {"prompt_tokens": 268, "completion_tokens": 1}

ANSWERS: Final[dict[str, Any]] = {
    "get /livez": {"status": "ok"},
    "get /readyz": {"status": "ok"},
    "get /v1/models": {
        "object": "list",
        "data": [{"id": "tiny", "object": "model", "view": "adapter", "bundles": ["69de0c18"]}],
    },
    "post /v1/query": {
        "id": "4f1c0de2a9b84e6d8f7a5b3c2d1e0f9a",
        "answer": "2",
        "model": "tiny",
        "view": "adapter",
        "image": _IMAGE,
        "usage": _USAGE,
        "timings_ms": {"decode": 9.1, "vision": 8.4, "generate": 12.7, "total": 31.5},
    },
    "post /v1/images": {
        "image_id": "img_m3Jx0c5mJqQd1r8YkS4v2A",
        "expires_in_s": 600.0,
        "image": _IMAGE,
    },
    "post /v1/chat/completions": {
        "id": "chatcmpl-4f1c0de2a9b84e6d8f7a5b3c2d1e0f9a",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "2"},
                "finish_reason": "stop",
            }
        ],
        "usage": {**_USAGE, "total_tokens": 269},
    },
}
"""By operation."""
