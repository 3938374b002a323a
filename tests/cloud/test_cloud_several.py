"""Several pictures in one question: over HTTP, in both forms, and what is refused."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm import rapidocr
from cloud_server.inference.mllm.base import Answer, GenerationRequest, Turn, VisualInput
from cloud_server.inference.work import Work
from cloud_server.routes.schemas import DATA_URL
from shared.bitstream import MEDIA_TYPE, Bitstream
from shared.bundle import Bundle
from shared.errors import FieldInvalid
from shared.prompt import MAX_PICTURES
from shared.query_body import join_body
from tests.cloud.listener import Listener

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def url(serve: Serve, talkative: Path) -> str:
    return serve(mllm=str(talkative), max_pixels=3 * 256 * 256)


def ask(url: str, streams: list[bytes], prompt: str = "hm?") -> httpx.Response:
    body = join_body(prompt, streams)
    headers = {"content-type": MEDIA_TYPE}
    return httpx.post(f"{url}/v1/query", content=body, headers=headers, timeout=300)


def chat(url: str, messages: list[dict[str, Any]]) -> httpx.Response:
    body = {"model": "", "messages": messages, "max_tokens": 32}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300)


def picture(stream: bytes) -> dict[str, Any]:
    return {
        "type": "image_url",
        "image_url": {"url": DATA_URL + base64.b64encode(stream).decode()},
    }


def test_each_form_gets_the_same_answer(url: str, streams: list[bytes]) -> None:
    two = [streams[0], streams[2]]
    short = ask(url, two).json()
    assert [image["bytes"] for image in short["images"]] == [len(stream) for stream in two]
    assert short["image"] == short["images"][0]
    alone = ask(url, two[:1]).json()
    assert alone["images"] == []
    assert short["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"] + 200
    files = [("bitstream", ("picture.cotam", stream, MEDIA_TYPE)) for stream in two]
    form = httpx.post(f"{url}/v1/query", data={"prompt": "hm?"}, files=files, timeout=300).json()
    ids = [
        httpx.post(f"{url}/v1/images", files={"bitstream": stream}, timeout=300).json()["image_id"]
        for stream in two
    ]
    kept = httpx.post(
        f"{url}/v1/query",
        files=[("prompt", (None, "hm?")), *(("image_id", (None, image_id)) for image_id in ids)],
        timeout=300,
    ).json()
    content = [*map(picture, two), {"type": "text", "text": "hm?"}]
    talk = chat(url, [{"role": "user", "content": content}]).json()
    answers = {
        *(response["answer"] for response in (short, form, kept)),
        talk["choices"][0]["message"]["content"],
    }
    assert answers == {short["answer"]}
    assert ask(url, two[::-1]).json()["answer"] not in answers


def test_a_picture_stands_with_its_turn(url: str, streams: list[bytes]) -> None:
    def turns(first: list[bytes], last: list[bytes]) -> list[dict[str, Any]]:
        return [
            {"role": "user", "content": [*map(picture, first), {"type": "text", "text": "a?"}]},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": [*map(picture, last), {"type": "text", "text": "b?"}]},
        ]

    a, b, _ = streams
    answers = [
        chat(url, turns(*split)).json()["choices"][0]["message"]["content"]
        for split in (([a, b], []), ([a], [b]))
    ]
    assert answers[0] != answers[1]
    wrong = turns([a], [])
    wrong[1]["content"] = [picture(b), {"type": "text", "text": "no"}]
    refusal = chat(url, wrong)
    assert refusal.status_code == 422
    assert "pictures come with the user's messages" in refusal.text


@pytest.mark.parametrize(
    ("count", "status", "message"),
    [
        (MAX_PICTURES + 1, 422, f"1 to {MAX_PICTURES} pictures"),
        (4, 413, "pixels together, over the limit of"),
    ],
)
def test_too_many(url: str, stream: bytes, count: int, status: int, message: str) -> None:
    content = [*([picture(stream)] * count), {"type": "text", "text": "hm?"}]
    for refusal in (ask(url, [stream] * count), chat(url, [{"role": "user", "content": content}])):
        assert refusal.status_code == status
        assert message in refusal.text


def test_a_damaged_one_of_several(url: str, streams: list[bytes]) -> None:
    parsed = Bitstream.from_bytes(streams[1])
    forged = Bitstream(**{**vars(parsed), "check": parsed.check ^ 1}).to_bytes()
    refusal = ask(url, [streams[0], forged])
    assert (refusal.status_code, refusal.json()["code"]) == (422, "decoder_mismatch")
    cut = join_body("hm?", streams)[:-3]
    headers = {"content-type": MEDIA_TYPE}
    answer = httpx.post(f"{url}/v1/query", content=cut, headers=headers, timeout=300)
    assert (answer.status_code, answer.json()["code"]) == (400, "stream_truncated")


def test_more_pictures_than_the_context_holds(bundle: Bundle, stranger: Path) -> None:
    backend = Engine([bundle], str(stranger), "cpu", 1).backend
    backend.check([Turn("user", "hm?", 2)], 8)
    with pytest.raises(FieldInvalid, match="about fewer pictures"):
        backend.check([Turn("user", "hm?", 8)], 8)


def test_a_template_that_shows_one_says_so(
    bundle: Bundle, qwen: Path, streams: list[bytes], tmp_path: Path
) -> None:
    folder = shutil.copytree(qwen, tmp_path / "one")
    (folder / "chat_template.jinja").write_text(
        "<|vision_start|><|image_pad|><|vision_end|>{{ messages[0]['content'][-1]['text'] }}:"
    )
    engine = Engine([bundle], str(folder), "cpu", 1)
    first, second = (Work(Bitstream.from_bytes(stream)) for stream in streams[:2])
    first.prompt, first.max_new_tokens, first.others = "hm?", 4, (second,)
    engine.run([first])
    assert "2 pictures came with the question, and the model's template shows 1" in str(first.error)


def test_the_reader_of_print_names_each_picture() -> None:
    sink = Listener()
    backend = object.__new__(rapidocr.RapidOcr)
    seen = [
        VisualInput("picture", [rapidocr.FOUND, "CAFE", "4.20"], 0),
        VisualInput("picture", [rapidocr.NOTHING], 0),
    ]
    backend.answer([GenerationRequest(seen, "hm?", 9, sink)])
    assert isinstance(sink.outcome, Answer)
    assert sink.outcome.text.splitlines() == [
        f"Picture 1: {rapidocr.FOUND}",
        "CAFE",
        "4.20",
        f"Picture 2: {rapidocr.NOTHING}",
    ]
