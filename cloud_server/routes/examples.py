"""Examples in the OpenAPI document. A test holds each against the model that it is of."""

from __future__ import annotations

from typing import Any, Final

from cloud_server.routes.schemas import DATA_URL
from shared.prompt import DEFAULT_NEW_TOKENS

_IMAGE: Final = {"width": 256, "height": 256, "bytes": 885, "bpp": 0.108032, "codec": "3101eb1b"}
_USAGE: Final = {"prompt_tokens": 268, "completion_tokens": 1}

HEALTH: Final = {"status": "ok"}
MODEL: Final[dict[str, Any]] = {
    "id": "tiny",
    "object": "model",
    "view": "adapter",
    "bundles": ["8c307d84"],
    "codecs": ["3101eb1b"],
    "resolution": 256,
}
MODELS: Final[dict[str, Any]] = {"object": "list", "data": [MODEL]}
ANSWER: Final[dict[str, Any]] = {
    "id": "4f1c0de2a9b84e6d8f7a5b3c2d1e0f9a",
    "answer": "2",
    "model": "tiny",
    "view": "adapter",
    "image": _IMAGE,
    "images": [],
    "usage": _USAGE,
    "timings_ms": {"decode": 9.1, "vision": 8.4, "generate": 12.7, "total": 31.5},
    "confidence": 0.97,
    "need": None,
    "image_id": "",
}
PROVISIONAL: Final[dict[str, Any]] = {
    **ANSWER,
    "confidence": 0.62,
    "need": {
        "handle": "ask_3Jx0c5mJqQd1r8Yk",
        "cells": "kQZ0Aw==",
        "quality": 3.0,
        "expires_in_s": 600.0,
    },
}
KEPT_IMAGE: Final[dict[str, Any]] = {
    "image_id": "img_m3Jx0c5mJqQd1r8YkS4v2A",
    "expires_in_s": 600.0,
    "image": _IMAGE,
}
CHAT_REQUEST: Final[dict[str, Any]] = {
    "model": "tiny",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"{DATA_URL}x1QB..."}},
                {"type": "text", "text": "how many cars?"},
            ],
        }
    ],
    "max_tokens": DEFAULT_NEW_TOKENS,
}
CHAT_ANSWER: Final[dict[str, Any]] = {
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
}
