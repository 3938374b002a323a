"""Answers as they grow, questions about pictures that were kept, and requests side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cloud_server.inference.image_store import ImageStore, Kept
from cloud_server.inference.mllm.base import VisualInput
from shared.errors import NotFound
from shared.schemas import ImageInfo, QueryResponse

Serve = Callable[..., str]
PROMPTS = ("how many cars?", "is it a beach?", "what does the small sign say?")


@pytest.fixture(scope="module")
def url(serve: Serve, talkative: Path) -> str:
    """A server whose answers are as long as asked for."""
    return serve(mllm=str(talkative), max_requests=8)


def ask(url: str, prompt: str, count: int, **form: bytes | str) -> httpx.Response:
    files = {name: (None, value) for name, value in form.items()}
    files |= {"prompt": (None, prompt), "max_new_tokens": (None, str(count))}
    return httpx.post(f"{url}/v1/query", files=files, timeout=300)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Names and data of server-sent events."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_pieces_then_the_whole(url: str, stream: bytes) -> None:
    whole = ask(url, PROMPTS[0], 12, bitstream=stream).json()
    response = ask(url, PROMPTS[0], 12, bitstream=stream, stream="true")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-request-id"]
    received = list(events(response.iter_lines()))
    assert [name for name, _ in received[:-1]] == ["text"] * (len(received) - 1)
    assert len(received) > 3
    assert "".join(str(data["text"]) for _, data in received[:-1]) == whole["answer"]
    name, data = received[-1]
    assert name == "done"
    assert QueryResponse.model_validate(data).usage.completion_tokens == 12


def test_an_error_before_the_first_piece_has_its_status(url: str, stream: bytes) -> None:
    response = ask(url, "a <image>", 4, bitstream=stream, stream="true")
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")


def test_the_place_is_free_again_when_a_listener_leaves(url: str, stream: bytes) -> None:
    form = {"bitstream": stream, "stream": (None, "true")}
    form |= {"prompt": (None, "hm?"), "max_new_tokens": (None, "700")}
    # There are 8 places: were one kept, the ninth would be refused.
    for _ in range(9):
        with httpx.stream("POST", f"{url}/v1/query", files=form, timeout=300) as response:
            assert response.status_code == 200
            assert next(events(response.iter_lines()))[0] == "text"


def test_requests_side_by_side_get_their_own_answers(url: str, streams: list[bytes]) -> None:
    jobs = [(prompt, bits) for prompt in PROMPTS[:2] for bits in streams]
    alone = [ask(url, prompt, 6, bitstream=bits).json()["answer"] for prompt, bits in jobs]
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = pool.map(lambda job: ask(url, job[0], 6, bitstream=job[1]).json(), jobs)
        assert [response["answer"] for response in together] == alone
    assert len(set(alone)) == len(alone)


def test_a_kept_picture_is_asked_about_without_bytes(url: str, stream: bytes) -> None:
    sent = httpx.post(f"{url}/v1/images", files={"bitstream": stream}, timeout=300)
    assert sent.status_code == 201
    kept = sent.json()
    assert kept["image"]["bytes"] == len(stream)
    assert kept["expires_in_s"] > 0
    wanted = ask(url, PROMPTS[1], 6, bitstream=stream).json()
    answered = ask(url, PROMPTS[1], 6, image_id=kept["image_id"]).json()
    assert answered["answer"] == wanted["answer"]
    assert answered["image"] == wanted["image"]
    assert answered["timings_ms"]["decode"] == answered["timings_ms"]["vision"] == 0
    assert httpx.delete(f"{url}/v1/images/{kept['image_id']}").status_code == 204
    gone = ask(url, PROMPTS[1], 6, image_id=kept["image_id"])
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


def test_bitstream_or_image_id_but_not_both(url: str, stream: bytes) -> None:
    for form in ({}, {"bitstream": stream, "image_id": "img_x"}):
        response = ask(url, "hm?", 2, **form)
        assert (response.status_code, response.json()["code"]) == (422, "field_invalid")


@pytest.mark.parametrize("image_id", ["img_none", "../../etc/passwd", "%00", "a" * 60])
def test_ids_that_are_none(url: str, image_id: str) -> None:
    assert ask(url, "hm?", 2, image_id=image_id).status_code == 404


def test_the_store_is_bounded_in_number_bytes_and_time() -> None:
    now = [0.0]
    store = ImageStore(most=3, most_bytes=100, ttl_s=10.0, clock=lambda: now[0])
    image = ImageInfo(width=1, height=1, bytes=1, bpp=8.0, codec="00000000")

    def put(size: int, caller: str = "me") -> str:
        return store.put(caller, Kept(VisualInput("picture", None, size), image))

    def there(*ids: str) -> list[bool]:
        kept = []
        for image_id in ids:
            try:
                store.get("me", image_id)
                kept.append(True)
            except NotFound:
                kept.append(False)
        return kept

    a, b, c = put(10), put(10), put(10)
    d = put(10)
    assert there(a, b, c, d) == [False, True, True, True]
    now[0] = 5.0
    e = put(90)
    assert there(b, c, d, e) == [False, False, True, True]
    assert store.bytes == 100
    other = put(1, "you")
    assert there(other, e) == [False, True]
    now[0] = 15.0
    assert there(d, e) == [False, False]
    assert (len(store), store.bytes) == (0, 0)
    put(101)
    assert len(store) == 0
