"""How commands speak: data on standard output, talk on standard error, errors in one line."""

from __future__ import annotations

import json
import sys
from typing import Any

from shared.errors import CotamError


def put(line: str) -> None:
    """A line of data."""
    print(line, flush=True)


def put_json(value: dict[str, Any]) -> None:
    """One JSON object on one line of data."""
    put(json.dumps(value, ensure_ascii=False))


def put_bytes(data: bytes) -> None:
    """Raw data. Nothing else may be written to standard output then."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say(line: str) -> None:
    """A line of talk."""
    print(line, file=sys.stderr, flush=True)


def complain(error: CotamError, about: str = "") -> None:
    """An error in one line, with the request id where a server reported it."""
    text = " ".join(str(error).split())
    if about and about not in text:
        text = f"{about}: {text}"
    if error.request_id:
        text += f" [request {error.request_id}]"
    say(f"error: {text}")


def as_dict(error: CotamError) -> dict[str, Any]:
    """For `--json`."""
    found: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.hint:
        found["hint"] = error.hint
    if error.request_id:
        found["request_id"] = error.request_id
    return found
