"""Questions and pictures as they are, without a form around them."""

from __future__ import annotations

import httpx
import pytest

from shared.bitstream import MEDIA_TYPE
from shared.query_body import join_body


def post(url: str, body: bytes, kind: str = MEDIA_TYPE, **headers: str) -> httpx.Response:
    return httpx.post(url, content=body, headers={"content-type": kind, **headers}, timeout=300)


def test_the_same_answer_as_of_a_form(server_url: str, stream: bytes) -> None:
    url, prompt = f"{server_url}/v1/query", "how many cars? 🚗"
    raw = post(url, join_body(prompt, [stream]), f"{MEDIA_TYPE}; charset=utf-8").json()
    form = {"prompt": prompt}
    files = {"bitstream": ("picture.cotam", stream, MEDIA_TYPE)}
    other = httpx.post(url, data=form, files=files, timeout=300).json()
    assert raw["answer"] == other["answer"]
    assert raw["image"] == other["image"]
    assert raw["image"]["bytes"] == len(stream)


def test_options_stand_in_the_url(server_url: str, stream: bytes) -> None:
    body = join_body("how many cars?", [stream])
    short = post(f"{server_url}/v1/query?max_new_tokens=1", body)
    assert short.json()["usage"]["completion_tokens"] == 1
    grown = post(f"{server_url}/v1/query?stream=true&max_new_tokens=2", body)
    assert grown.headers["content-type"].startswith("text/event-stream")
    assert "event: done" in grown.text


@pytest.mark.parametrize(
    ("query", "body", "status", "code"),
    [
        ("?max_new_tokens=0", b"why?", 422, "field_invalid"),
        ("?max_new_tokens=many", b"why?", 422, "field_invalid"),
        ("?stream=perhaps", b"why?", 422, "field_invalid"),
        ("?stream=true&stream=true", b"why?", 422, "field_invalid"),
        ("", b"", 422, "field_invalid"),
        ("", b" \n", 422, "field_invalid"),
        ("", b"\xff why?", 422, "field_invalid"),
        ("", b"x" * 4001, 422, "field_invalid"),
    ],
)
def test_what_is_refused(
    query: str, body: bytes, status: int, code: str, server_url: str, stream: bytes
) -> None:
    answer = post(f"{server_url}/v1/query{query}", body + stream)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"", b"how many cars?", b"\xff\xd8\xff\xe0 a photo"])
def test_no_stream_at_all(body: bytes, server_url: str) -> None:
    answer = post(f"{server_url}/v1/query", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "stream_foreign")


def test_a_field_in_the_form_and_in_the_url(server_url: str, stream: bytes) -> None:
    files = {"bitstream": ("picture.cotam", stream, MEDIA_TYPE)}
    form = {"prompt": "why?", "max_new_tokens": "3"}
    url = f"{server_url}/v1/query?max_new_tokens=3"
    answer = httpx.post(url, data=form, files=files, timeout=300)
    assert (answer.status_code, answer.json()["code"]) == (422, "field_invalid")


def test_a_key_is_one_for_both_forms(server_url: str, stream: bytes) -> None:
    url, key = f"{server_url}/v1/query", {"idempotency-key": "raw-and-form"}
    raw = post(url, join_body("once?", [stream]), **key)
    files = {"bitstream": ("picture.cotam", stream, MEDIA_TYPE)}
    form = httpx.post(url, data={"prompt": "once?"}, files=files, headers=key, timeout=300)
    assert form.json()["id"] == raw.json()["id"]
    assert form.headers["idempotency-replayed"] == "true"


def test_a_picture_to_keep(server_url: str, stream: bytes) -> None:
    kept = post(f"{server_url}/v1/images", stream)
    assert kept.status_code == 201
    assert kept.json()["image"]["bytes"] == len(stream)
    assert post(f"{server_url}/v1/images", b"why?" + stream).json()["code"] == "stream_foreign"
