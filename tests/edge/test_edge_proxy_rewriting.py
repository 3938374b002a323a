"""Of a chat completion's body only the pictures change."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from edge_client.proxy.rewriting import STREAM_URL, rewrite
from shared.errors import CotamError, FieldInvalid, PictureUnreadable, RequestError


def code(picture: bytes, name: str) -> bytes:
    return b"<" + picture + b">"


def as_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def chat(*urls: Any, **more: Any) -> dict[str, Any]:
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    parts.append({"type": "text", "text": "wörter"})
    return {"model": "any", "messages": [{"role": "user", "content": parts}], **more}


def test_without_a_picture_to_code_the_bytes_stay() -> None:
    kept = chat("img_0123", STREAM_URL + "Q29UQQ==")
    odd = [{"messages": 3}, {"messages": [1, {"content": [2, {"type": "image_url"}]}]}]
    for value in ({"messages": []}, {"messages": [{"role": "user", "content": "x"}]}, kept, *odd):
        body = json.dumps(value, indent=3).encode()
        rewritten = rewrite(body, code)
        assert (rewritten.body, rewritten.received, rewritten.pictures) == (body, len(body), 0)


def test_pictures_become_streams_and_all_else_stays() -> None:
    more = {"temperature": 1e-7, "seed": 2**70, "tools": [{"x": None}], "user": "\ud800é"}
    body = chat(as_url(b"one"), STREAM_URL + "AA==", as_url(b"three", "image/jpeg"), **more)
    body["messages"][0]["content"][0]["image_url"]["detail"] = "low"
    body["messages"] += [{"role": "assistant", "content": None, "tool_calls": [1]}]
    body["messages"] += [{"content": [{"type": "image_url", "image_url": as_url(b"4")}]}]
    rewritten = rewrite(json.dumps(body).encode(), code)
    wanted = json.loads(json.dumps(body))
    parts = wanted["messages"][0]["content"]
    parts[0]["image_url"]["url"] = STREAM_URL + base64.b64encode(b"<one>").decode()
    parts[2]["image_url"]["url"] = STREAM_URL + base64.b64encode(b"<three>").decode()
    wanted["messages"][2]["content"][0]["image_url"] = (
        STREAM_URL + base64.b64encode(b"<4>").decode()
    )
    assert json.loads(rewritten.body) == wanted
    assert list(json.loads(rewritten.body)) == list(wanted)
    assert (rewritten.pictures, rewritten.picture_bytes, rewritten.stream_bytes) == (3, 9, 15)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"{", RequestError, "no JSON"),
        (b"\xff", RequestError, "no JSON"),
        (b"[" * 100_000, RequestError, "no JSON"),
        (b"[]", RequestError, "no JSON object"),
        (chat("https://a.example/cat.png"), FieldInvalid, "URL of https: this proxy fetches none"),
        (chat("file:///etc/passwd"), FieldInvalid, "URL of file"),
        (chat("data:image/png;base64,?"), PictureUnreadable, r"base64 of messages\[0\].content\[0"),
        (chat("data:image/png,abc"), PictureUnreadable, "without base64"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    body: bytes | dict[str, Any], kind: type[CotamError], words: str
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(kind, match=words):
        rewrite(raw, code)
