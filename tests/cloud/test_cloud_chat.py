"""Chat completions, with OpenAI's own client where it is installed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_server.routes.schemas import DATA_URL

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def url(serve: Serve, talkative: Path) -> str:
    return serve(mllm=str(talkative))


def body(picture: str, text: str = "how many cars?", **more: Any) -> dict[str, Any]:
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": text},
    ]
    return {"model": "talkative", "messages": [{"role": "user", "content": content}], **more}


def data_url(stream: bytes) -> str:
    return DATA_URL + base64.b64encode(stream).decode()


def test_the_same_answer_as_a_query(url: str, stream: bytes) -> None:
    files = {"bitstream": stream, "prompt": (None, "hm?"), "max_new_tokens": (None, "6")}
    wanted = httpx.post(f"{url}/v1/query", files=files, timeout=300).json()
    asked = body(data_url(stream), "hm?", max_tokens=6)
    found = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300).json()
    assert found["choices"][0]["message"] == {"role": "assistant", "content": wanted["answer"]}
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 6


def test_openais_client(url: str, stream: bytes) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["talkative"]
        asked = body(data_url(stream), max_tokens=8)
        whole = client.chat.completions.create(**asked)
        text = whole.choices[0].message.content
        with client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        ) as chunks:
            found = list(chunks)
        pieces = [c.choices[0].delta.content or "" for c in found if c.choices]
        assert "".join(pieces) == text != ""
        assert len(pieces) > 4
        assert found[-1].usage.completion_tokens == 8
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            client.chat.completions.create(**body("http://127.0.0.1:1/picture"))
        assert "fetches no URLs" in raised.value.response.json()["detail"]


@pytest.mark.parametrize(
    "picture",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        f"{DATA_URL}!!!",
        f"{DATA_URL}\u00e9\u00e9\u00e9\u00e9",
        "",
    ],
)
def test_no_url_is_fetched(url: str, picture: str) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", json=body(picture))
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "gpt-4o"}, 404),
        ({"messages": []}, 422),
        ({"messages": [{"role": "user", "content": "no picture"}]}, 422),
        ({"messages": [{"role": "assistant", "content": "I?"}]}, 422),
        ({"n": 2}, 422),
        ({"max_tokens": 0}, 422),
        ({"max_tokens": 10**400}, 422),
        ({"max_tokens": "1e999"}, 422),
        ({"messages": "x" * 10_000}, 422),
    ],
)
def test_requests_that_are_refused(
    url: str, stream: bytes, change: dict[str, Any], status: int
) -> None:
    asked = body(data_url(stream)) | change
    response = httpx.post(f"{url}/v1/chat/completions", json=asked)
    assert response.status_code == status
    assert len(response.content) < 1000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"type": "image_url"}], "messages.0.content.parts.0.image_url.image_url: Field required"),
        ([{"type": "input_audio"}], "messages.0.content.parts.0: "),
        ([{"type": "text", "text": "a"}] * 65, "messages.0.content.parts: "),
        ([{"type": "text", "text": "a"}] * 20_000, "the body holds more than 20000 values"),
        (7, "messages.0.content.text: Input should be a valid string"),
        ("a\ud800", "the body: Invalid JSON: "),
    ],
)
def test_a_refusal_names_the_place(url: str, content: Any, told: str) -> None:
    raw = json.dumps({"model": "", "messages": [{"role": "user", "content": content}]})
    response = httpx.post(f"{url}/v1/chat/completions", content=raw, timeout=300)
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")
    assert response.json()["detail"].startswith(told)
    assert len(response.content) < 1000


def test_nulls_are_defaults(url: str, stream: bytes) -> None:
    nothing = dict.fromkeys(("max_tokens", "max_completion_tokens", "stream_options"))
    asked = body(data_url(stream), "hm?", **nothing)
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300).is_success


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[" * 100_000, b"[" * 10_000, b'{"model": "", "a": [%b0]}' % (b"[]," * 50_000)]
    + [b'{"model": "\xff"}', b'\xef\xbb\xbf{"model": ""}', '{"model": ""}'.encode("utf-16")]
    + [b'{"model": "", "messages": [], "max_tokens": %b}' % digits for digits in (b"1e999", b"-0")],
)
def test_bodies_that_are_no_json(url: str, raw: bytes) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", content=raw)
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")
