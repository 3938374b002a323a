"""A hundred hostile requests of ten kinds; after each kind a good one is answered."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cloud_server.chat_schemas import DATA_URL
from cloud_server.keys import hash_key, new_key
from shared.bitstream import Bitstream
from shared.schemas import PROBLEM_MEDIA_TYPE, Problem

Serve = Callable[..., str]
Request = dict[str, Any]
KEY = new_key()
QUERY, CHAT = "/v1/query", "/v1/chat/completions"
EACH = 10


def form(stream: bytes, prompt: bytes | str = "hm?") -> Request:
    return {"url": QUERY, "files": {"bitstream": stream, "prompt": (None, prompt)}}


def changed(stream: bytes, **fields: Any) -> bytes:
    return Bitstream(**{**vars(Bitstream.from_bytes(stream)), **fields}).to_bytes()


def bombs(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(changed(stream, width=65_535 - i, height=4_000 + i, level_map=b""))


def wrong_keys(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield {**form(stream), "headers": {"authorization": f"Bearer {new_key()[: 8 + i]}"}}


def wrong_bundles(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(changed(stream, bundle_id=bytes([i, 0, 0, 0])))


def cut_streams(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(stream[: i * len(stream) // EACH])


def giant_prompts(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(stream, "why? " * (1_000 << i))


def path_tricks(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        up = ("../" * i + "etc/passwd") if i % 2 else ("%2e%2e%2f" * i + "etc%2fpasswd")
        yield {"method": "GET", "url": f"/v1/bundles/{up}/files/{up}"}


def foreign_urls(stream: bytes) -> Iterator[Request]:
    schemes = ("http", "https", "file", "ftp", "gopher", "data", "javascript", "ws", "s3", "dict")
    for scheme in schemes:
        picture = {"type": "image_url", "image_url": {"url": f"{scheme}://169.254.169.254/"}}
        yield {"url": CHAT, "json": {"model": "", "messages": [_user(picture)]}}


def header_floods(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        part = b"--x\r\n" + b"".join(b"h%d: v\r\n" % n for n in range(20 << i)) + b"\r\n--x--\r\n"
        kind = {"content-type": "multipart/form-data; boundary=x"}
        yield {"url": QUERY, "content": part, "headers": kind}


def invalid_utf8(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(stream, b"caf" + bytes([0x80 + i]))


def damaged_latents(stream: bytes) -> Iterator[Request]:
    found = Bitstream.from_bytes(stream)
    for i in range(EACH):
        latents = bytearray(found.latents)
        latents[i * len(latents) // EACH] ^= 0x55
        yield form(changed(stream, latents=bytes(latents)))


def _user(picture: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [picture, {"type": "text", "text": "hm?"}]}


@pytest.fixture(scope="module")
def client(serve: Serve) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    url = serve(api_keys=f"phone={hash_key(KEY)}")
    with httpx.Client(base_url=url, headers=headers, timeout=300) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (bombs, {(413, "stream_too_large")}),
        (wrong_keys, {(403, "key_refused")}),
        (wrong_bundles, {(409, "bundle_unknown")}),
        (cut_streams, {(400, "stream_truncated"), (400, "stream_corrupt")}),
        (giant_prompts, {(422, "field_invalid")}),
        (path_tricks, {(404, "not_found")}),
        (foreign_urls, {(422, "field_invalid")}),
        (header_floods, {(400, "request")}),
        (invalid_utf8, {(422, "field_invalid")}),
        (damaged_latents, {(422, "decoder_mismatch")}),
    ],
)
def test_each_gets_its_documented_answer(
    client: httpx.Client,
    stream: bytes,
    kind: Callable[[bytes], Iterator[Request]],
    answers: set[tuple[int, str]],
) -> None:
    found = set()
    requests = list(kind(stream))
    assert len(requests) == EACH
    for request in requests:
        response = client.request(**{"method": "POST", **request})
        assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
        found.add((response.status_code, Problem.model_validate_json(response.content).code))
    assert found <= answers
    assert client.request(**{"method": "POST", **form(stream)}).status_code == 200
    picture = {"url": DATA_URL + base64.b64encode(stream).decode()}
    good = {"model": "", "messages": [_user({"type": "image_url", "image_url": picture})]}
    assert client.post(CHAT, json=good).status_code == 200
