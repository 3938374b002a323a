"""Chat completions, with OpenAI's own client where it is installed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_server.guard.keys import hash_key, new_key
from cloud_server.routes.schemas import DATA_URL
from shared.schemas import PROBLEM_MEDIA_TYPE, Problem

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
    completion = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300).json()
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": wanted["answer"]}
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 6


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
            received = list(chunks)
        pieces = [c.choices[0].delta.content or "" for c in received if c.choices]
        assert "".join(pieces) == text != ""
        assert len(pieces) > 4
        assert received[-1].usage.completion_tokens == 8
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            client.chat.completions.create(**body("http://127.0.0.1:1/picture"))
        assert "fetches no URLs" in raised.value.response.json()["detail"]


def test_openais_client_shows_why_it_was_refused(url: str, serve: Serve, stream: bytes) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.UnprocessableEntityError, match="fetches no URLs") as refused:
            client.chat.completions.create(**body("http://127.0.0.1:1/picture"))
        assert (refused.value.code, refused.value.type) == (
            "field_invalid",
            "invalid_request_error",
        )
        with pytest.raises(openai.NotFoundError, match="there is 'talkative'"):
            client.models.retrieve("gpt-4o")
        assert client.models.retrieve("talkative").id == "talkative"
        with pytest.raises(openai.NotFoundError, match="there is no /v1/embeddings"):
            client.embeddings.create(model="talkative", input="hm?")
    locked = serve(api_keys=f"phone={hash_key(new_key())}")
    with openai.OpenAI(base_url=f"{locked}/v1", api_key="none", max_retries=0) as client:
        for ask in (client.models.list, lambda: client.chat.completions.create(**body("x"))):
            with pytest.raises(
                openai.PermissionDeniedError, match="the key is not known"
            ) as refused:
                ask()
            assert refused.value.type == "permission_error"


def test_problem_and_openais_error_are_one_body(url: str) -> None:
    response = httpx.get(f"{url}/v1/models/none")
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (404, "not_found")
    assert response.json()["error"] == {
        "message": f"{problem.detail} ({problem.hint})",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }


def test_earlier_turns_are_told_to_the_model(url: str, stream: bytes) -> None:
    def answer(*texts: str, roles: tuple[str, ...] = ("user", "assistant")) -> dict[str, Any]:
        said = [
            {"role": roles[number % len(roles)], "content": [{"type": "text", "text": text}]}
            for number, text in enumerate(texts)
        ]
        said[0]["content"].insert(0, {"type": "image_url", "image_url": {"url": data_url(stream)}})
        asked = {"model": "talkative", "messages": said, "max_tokens": 6}
        response = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300)
        assert response.is_success, response.text
        completion: dict[str, Any] = response.json()
        return completion

    alone = answer("how many cars?")
    talk = answer("is it a beach?", "no", "how many cars?")
    other = answer("what does the small sign say?", "yellow", "how many cars?")
    texts = [completion["choices"][0]["message"]["content"] for completion in (alone, talk, other)]
    assert len(set(texts)) == 3
    assert talk["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"] + 4
    # Two messages of one side are one turn.
    split = answer("is it a beach?", "how many cars?", roles=("user",))
    assert split["choices"] == answer("is it a beach?\nhow many cars?")["choices"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([("assistant", "I?")], [], "messages begin and end with the user's"),
        ([], [("assistant", "I?")], "messages begin and end with the user's"),
        ([("user", "a" * 15_000)], [("user", "a" * 1_000)], "messages have more than 16000"),
        ([("user", "hm?")], [("assistant", "</s>"), ("user", "hm?")], "prompt holds '</s>'"),
        ([("user", "hm?")], [("assistant", "x " * 3_000), ("user", "hm?")], "prompt and picture"),
    ],
)
def test_turns_that_are_refused(
    url: str,
    stream: bytes,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    message: str,
) -> None:
    asked = body(data_url(stream), "hm?")
    first, last = (
        [{"role": role, "content": text} for role, text in turns] for turns in (before, after)
    )
    asked["messages"] = [*first, *asked["messages"], *last]
    response = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300)
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")
    assert response.json()["error"]["message"].startswith(message)


def test_a_kept_picture_in_a_chat(url: str, stream: bytes) -> None:
    sent = httpx.post(f"{url}/v1/images", files={"bitstream": stream}, timeout=300).json()

    def answer(picture: str) -> httpx.Response:
        asked = body(picture, max_tokens=6)
        return httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300)

    assert answer(sent["image_id"]).json()["choices"] == answer(data_url(stream)).json()["choices"]
    assert httpx.delete(f"{url}/v1/images/{sent['image_id']}").is_success
    gone = answer(sent["image_id"])
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


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
    ("content", "message"),
    [
        ([{"type": "image_url"}], "messages.0.content.parts.0.image_url.image_url: Field required"),
        ([{"type": "input_audio"}], "messages.0.content.parts.0: "),
        ([{"type": "text", "text": "a"}] * 65, "messages.0.content.parts: "),
        ([{"type": "text", "text": "a"}] * 20_000, "the body holds more than 20000 values"),
        (7, "messages.0.content.text: Input should be a valid string"),
        ("a\ud800", "the body: Invalid JSON: "),
    ],
)
def test_a_refusal_names_the_place(url: str, content: Any, message: str) -> None:
    raw = json.dumps({"model": "", "messages": [{"role": "user", "content": content}]})
    response = httpx.post(f"{url}/v1/chat/completions", content=raw, timeout=300)
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")
    assert response.json()["detail"].startswith(message)
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
