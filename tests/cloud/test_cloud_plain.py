"""Ordinary pictures where a server takes them: seen as they are, read apart, bounded."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cloud_server.decoding import decode
from cloud_server.guard.plain_picture import decode as read
from cloud_server.guard.plain_picture import kind_of
from shared.errors import PictureUnreadable
from tests.cloud.conftest import draw

Serve = Callable[..., str]
KINDS = ("PNG", "JPEG", "WEBP")


@pytest.fixture(scope="module")
def url(serve: Serve, stranger: Path) -> str:
    return serve(mllm=str(stranger), plain_pictures=True, max_pixels=256 * 256)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def ask(url: str, picture: bytes, **fields: str) -> httpx.Response:
    data = {"prompt": "hm?", **fields}
    return httpx.post(f"{url}/v1/query", files={"bitstream": picture}, data=data, timeout=300)


def chat(url: str, kind: str, picture: bytes) -> httpx.Response:
    place = f"data:image/{kind.lower()};base64,{base64.b64encode(picture).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": place}},
        {"type": "text", "text": "hm?"},
    ]
    body = {"model": "", "messages": [{"role": "user", "content": content}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300)


def test_it_is_answered_as_the_same_pixels_of_a_stream(url: str, stream: bytes) -> None:
    """A model without an adapter sees the decoded picture: as a PNG it is the same."""
    png = written(decode(stream), "PNG")
    coded, plain = ask(url, stream).json(), ask(url, png).json()
    assert (coded["view"], plain["view"]) == ("picture", "original")
    assert plain["answer"] == coded["answer"] != ""
    assert (plain["image"]["bytes"], plain["image"]["codec"]) == (len(png), "png")
    talk = chat(url, "PNG", png).json()
    assert talk["choices"][0]["message"]["content"] == coded["answer"]
    kept = httpx.post(f"{url}/v1/images", files={"bitstream": png}, timeout=300).json()
    data = {"prompt": "hm?", "image_id": kept["image_id"]}
    again = httpx.post(f"{url}/v1/query", files={k: (None, v) for k, v in data.items()}).json()
    assert (again["answer"], again["view"]) == (coded["answer"], "original")


@pytest.mark.parametrize("kind", KINDS)
def test_each_format(url: str, kind: str) -> None:
    picture = written(Image.fromarray(draw(120, 80)), kind)
    answer = ask(url, picture).json()
    assert (answer["image"]["width"], answer["image"]["height"]) == (120, 80)
    assert answer["image"]["codec"] == kind.lower()
    assert chat(url, kind, picture).is_success


def test_what_is_refused(url: str) -> None:
    large = written(Image.new("1", (60_000, 60_000)), "PNG")
    for picture, status, code in (
        (large, 413, "picture_too_large"),
        (written(Image.new("RGB", (257, 256)), "JPEG"), 413, "picture_too_large"),
        (written(Image.new("RGB", (90, 90)), "PNG")[:80], 400, "picture_unreadable"),
        (b"\xff\xd8\xff\xe0" + bytes(100), 400, "picture_unreadable"),
        (b"GIF89a" + bytes(100), 400, "stream_foreign"),
        (b"%!PS-Adobe", 400, "stream_foreign"),
    ):
        refused = ask(url, picture)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert chat(url, "gif", b"GIF89a").json()["code"] == "field_invalid"
    assert ask(url, written(Image.new("RGB", (9, 9)), "PNG")).is_success


def test_they_are_refused_unless_allowed(server_url: str) -> None:
    png = written(Image.new("RGB", (9, 9)), "PNG")
    assert ask(server_url, png).json()["code"] == "stream_foreign"
    assert chat(server_url, "PNG", png).json()["code"] == "field_invalid"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_modes_become_rgb(mode: str) -> None:
    image = Image.fromarray(draw(20, 10))
    kind = "JPEG" if mode == "CMYK" else "PNG"
    if mode == "I;16":
        grey = np.asarray(image.convert("L"))
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        wanted = np.repeat(grey[..., None], 3, axis=2)
    else:
        image = image.convert(mode)
        wanted = np.asarray(Image.open(io.BytesIO(written(image, kind))).convert("RGB"))
    width, height, pixels = read(written(image, kind), 200)
    assert (width, height) == (20, 10)
    rgb = np.frombuffer(pixels, np.uint8).reshape(10, 20, 3)
    assert np.abs(rgb.astype(int) - wanted).max() <= 1


def test_pictures_are_upright_and_on_white() -> None:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    assert read(written(image, "PNG"), 8) == (4, 2, b"\xff" * 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.new("RGB", (4, 2))
    assert read(written(turned, "JPEG", exif=exif), 8)[:2] == (2, 4)
    assert read(written(turned, "PNG"), 7) == (4, 2, b"")


def test_names_lie_and_content_counts() -> None:
    assert [kind_of(written(Image.new("RGB", (2, 2)), kind)) for kind in KINDS] == list(KINDS)
    assert kind_of(b"") == kind_of(b"RIFF1234WAVE") == ""
    with pytest.raises(PictureUnreadable):
        read(b"%!PS-Adobe", 100)
