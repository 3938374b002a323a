"""Hostile requests, ten of a kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloud_server.guard.keys import new_key
from shared.bitstream import Bitstream

Request = dict[str, Any]
QUERY, CHAT = "/v1/query", "/v1/chat/completions"
EACH = 10
FORM = "multipart/form-data; boundary=x"


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
        yield form(changed(stream, codec_id=bytes([i, 0, 0, 0])))


def cut_streams(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(stream[: i * len(stream) // EACH])


def giant_prompts(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(stream, "why? " * (1_000 << i))


def path_tricks(stream: bytes) -> Iterator[Request]:
    for i in range(EACH // 2):
        yield {"method": "DELETE", "url": f"/v1/images/{'..%2f' * i}img_x%00{i}"}
    for i in range(EACH // 2):
        up = ("../" * i + "etc/passwd") if i % 2 else ("%2e%2e%2f" * i + "etc%2fpasswd")
        yield {"method": "GET", "url": f"/v1/bundles/{up}/files/{up}"}


def foreign_urls(stream: bytes) -> Iterator[Request]:
    schemes = ("http", "https", "file", "ftp", "gopher", "data", "javascript", "ws", "s3", "dict")
    for scheme in schemes:
        picture = {"type": "image_url", "image_url": {"url": f"{scheme}://169.254.169.254/"}}
        yield {"url": CHAT, "json": {"model": "", "messages": [user(picture)]}}


def part_header_floods(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        part = b"--x\r\n" + b"".join(b"h%d: v\r\n" % n for n in range(20 << i)) + b"\r\n--x--\r\n"
        kind = {"content-type": "multipart/form-data; boundary=x"}
        yield {"url": QUERY, "content": part, "headers": kind}


def many_parts(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield multipart(b"".join(part(b"n%d" % n, b"v") for n in range(17 << i)))


def strange_parts(stream: bytes) -> Iterator[Request]:
    good = part(b"prompt", b"hm?") + part(b"bitstream", stream)
    yield multipart(good + part(b"", b"v"))
    yield multipart(good + part(b"\xff\xfe", b"v"))
    yield multipart(good + part(b"stream", b"perhaps"))
    yield multipart(good + part(b"stream", b"\xff"))
    yield multipart(good + part(b"image_id", b"img_x"))
    yield multipart(good + part(b"image_id", b""))
    yield multipart(good + part(b"max_new_tokens", b""))
    yield multipart(good + part(b"max_new_tokens", b"9" * 1_000_000))
    yield multipart(good + part(b"prompt", b"hm?", b"; filename=a"))
    yield multipart(part(b"prompt", b"hm?"))


def nested_forms(stream: bytes) -> Iterator[Request]:
    inner = part(b"prompt", b"hm?") + part(b"bitstream", stream)
    for depth in range(1, EACH + 1):
        mark = b"x" + b"y" * depth
        kind = b"\r\ncontent-type: multipart/mixed; boundary=" + mark
        inner = inner.replace(b"--x", b"--" + mark) + b"--" + mark + b"--\r\n"
        yield multipart(part(b"prompt", b"hm?") + part(b"bitstream", inner, kind))


def damaged_forms(stream: bytes) -> Iterator[Request]:
    good = part(b"prompt", b"hm?") + part(b"bitstream", stream)
    whole = good + b"--x--\r\n"
    for content in (
        b"",
        b"--x--",
        good,
        good + b"--x-",
        whole.replace(b"--x", b"--y"),
        whole.replace(b"\r\n\r\n", b"\n\n", 1),
        b"junk" + whole,
        whole.replace(b"content-disposition", b"content disposition", 1),
        whole.replace(b"; name=prompt", b"", 1),
        part(b"a" * 5_000, b"v") + whole,
    ):
        yield {"url": QUERY, "content": content, "headers": {"content-type": FORM}}


def wrong_content_types(stream: bytes) -> Iterator[Request]:
    content = part(b"prompt", b"hm?") + part(b"bitstream", stream) + b"--x--\r\n"
    for kind in (
        "",
        "application/x-www-form-urlencoded",
        "text/plain; boundary=x",
        "multipart/mixed; boundary=x",
        "multipart/form-datax; boundary=x",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 300,
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=y; boundary=z",
    ):
        yield {"url": QUERY, "content": content, "headers": {"content-type": kind}}


def invalid_utf8(stream: bytes) -> Iterator[Request]:
    for i in range(EACH):
        yield form(stream, b"caf" + bytes([0x80 + i]))


def damaged_latents(stream: bytes) -> Iterator[Request]:
    sent = Bitstream.from_bytes(stream)
    for i in range(EACH):
        latents = bytearray(sent.latents)
        latents[i * len(latents) // EACH] ^= 0x55
        yield form(changed(stream, latents=bytes(latents)))


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    """A part of a form with the boundary x."""
    return b"--x\r\ncontent-disposition: form-data; name=%b%b\r\n\r\n%b\r\n" % (name, more, value)


def multipart(parts: bytes) -> Request:
    return {"url": QUERY, "content": parts + b"--x--\r\n", "headers": {"content-type": FORM}}


def user(picture: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [picture, {"type": "text", "text": "hm?"}]}


def head(method: str, path: str, **fields: str) -> bytes:
    """The head of a request that announces a form."""
    fields |= {"host": "x", "content-type": "multipart/form-data; boundary=x"}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


def form_body(stream: bytes) -> bytes:
    """A whole form with the boundary x."""
    parts = {"prompt": b"hm?", "bitstream": stream}
    return b"".join(part(name.encode(), value) for name, value in parts.items()) + b"--x--\r\n"
