"""The playground: its page and files, what it makes of pictures, and the edge beside it."""

from __future__ import annotations

import base64
import gzip
import io
import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from cloud_server.guard.processes import run
from cloud_server.playground.pages import STATIC, examples, pages
from cloud_server.playground.pictures import (
    jpeg_as_good,
    jpeg_as_small,
    pixels,
    png,
    psnr,
    read_png,
)
from edge_client.coding.encoder import Encoder
from shared.bundle import Bundle
from shared.errors import CotamError, DeadlineExceeded, PictureTooLarge, PictureUnreadable

Serve = Callable[..., str]
STREAM = "application/vnd.cotam"


def send(url: str, body: bytes, kind: str = "image/png", **query: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/playground/pictures",
        content=body,
        headers={"content-type": kind},
        params=query,
        timeout=300,
    )


@pytest.fixture(scope="module")
def street() -> bytes:
    return (STATIC / "street.png").read_bytes()


def test_the_page_allows_nothing_from_elsewhere(server_url: str) -> None:
    response = httpx.get(f"{server_url}/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"].replace(" 'wasm-unsafe-eval'", "")
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    for file in STATIC.iterdir():
        if file.suffix in (".html", ".css", ".js"):
            assert not re.search(r"https?://|@import|innerHTML|eval\(", file.read_text())
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", response.text)


@pytest.mark.parametrize("built", [True, False])
def test_the_edge_for_browsers_is_served_where_it_was_built(tmp_path: Path, built: bool) -> None:
    wasm = b"\0asm" * 1000
    if built:
        (tmp_path / "cotam-edge.js").write_text("export const EdgeClient = 1;")
        (tmp_path / "runtime.wasm.gz").write_bytes(gzip.compress(wasm))
    app = FastAPI()
    app.include_router(pages(tmp_path))
    with TestClient(app) as client:
        policy = client.get("/").headers["content-security-policy"]
        assert ("script-src 'self' 'wasm-unsafe-eval';" in policy) == built
        assert "unsafe" not in policy.replace("'wasm-unsafe-eval'", "")
        edge = client.get("/playground/edge.json").json()
        assert edge == {"module": "./web/cotam-edge.js" if built else None}
        if not built:
            assert client.get("/playground/web/cotam-edge.js").status_code == 404
            return
        script = client.get("/playground/web/cotam-edge.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for encoding in ("gzip", "identity"):
            answer = client.get(
                "/playground/web/runtime.wasm", headers={"accept-encoding": encoding}
            )
            assert (answer.content, answer.headers["content-type"]) == (wasm, "application/wasm")
            assert (answer.headers.get("content-encoding") == "gzip") == (encoding == "gzip")


def test_what_the_page_names_is_served(server_url: str) -> None:
    text = httpx.get(f"{server_url}/").text
    named = set(re.findall(r'(?:href|src)="([^"]+)"', text)) | {"playground/examples.json"}
    named |= {f"playground/{name}.png" for name in examples()}
    assert len(named) > 8
    for path in named:
        first = httpx.get(f"{server_url}/{path}")
        assert first.status_code == 200, path
        headers = {"if-none-match": first.headers["etag"]}
        again = httpx.get(f"{server_url}/{path}", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
    other = httpx.get(f"{server_url}/playground/..%2froutes.py")
    assert (other.status_code, other.json()["code"]) == (404, "not_found")


def test_examples_fit_the_bundle_and_have_questions(bundle: Bundle) -> None:
    for name, questions in examples().items():
        read_png((STATIC / f"{name}.png").read_bytes(), bundle.manifest.resolution)
        assert all(question["prompt"] and question["answer"] for question in questions)
        assert len(questions) > 3


def test_off_by_a_setting(serve: Serve) -> None:
    url = serve(playground=False)
    for path in ("/", "/playground/playground.js", "/playground/pictures"):
        response = httpx.get(url + path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_picture_becomes_what_the_edge_makes_of_it(
    server_url: str, encoder: Encoder, street: bytes
) -> None:
    response = send(server_url, street, quality=4)
    assert response.status_code == 200
    shown = response.json()
    stream = base64.b64decode(shown["stream"])
    picture = read_png(street, 256)
    assert stream == encoder.analyse(picture).code(4.0).to_bytes()
    assert shown["image"]["bytes"] == len(stream)
    assert shown["quality"] == 4
    decoded = read_png(base64.b64decode(shown["decoded"]), 256)
    assert decoded.shape == picture.shape
    assert shown["psnr"] == pytest.approx(psnr(decoded, picture), abs=0.01)
    levels = shown["levels"]
    assert (len(levels["rows"]), len(levels["rows"][0])) == (256 // levels["cell"],) * 2
    assert shown["jpeg_as_good"]["psnr"] >= shown["psnr"] - 0.01
    assert shown["jpeg_as_good"]["bytes"] > len(stream)


def test_without_guidance_and_as_a_stream(server_url: str, street: bytes) -> None:
    flat = send(server_url, street, guidance="false").json()
    assert flat["levels"] is None
    stream = base64.b64decode(flat["stream"])
    again = send(server_url, stream, STREAM).json()
    assert again["decoded"] == flat["decoded"]
    assert again["psnr"] is again["jpeg_as_good"] is again["jpeg_as_small"] is None


def test_what_is_refused(server_url: str, street: bytes) -> None:
    wide = png(np.zeros((1, 257, 3), np.uint8))
    for body, kind, status, code in (
        (b"\xff\xd8\xff\xe0 a JPEG", "image/png", 400, "picture_unreadable"),
        (street[:1000], "image/png", 400, "picture_unreadable"),
        (wide, "image/png", 413, "picture_too_large"),
        (street, "image/jpeg", 400, "request"),
        (street, STREAM, 400, "stream_foreign"),
        (b"", "image/png", 400, "picture_unreadable"),
    ):
        response = send(server_url, body, kind)
        assert (response.status_code, response.json()["code"]) == (status, code), kind
    response = send(server_url, street, quality=9.5)
    assert (response.status_code, response.json()["code"]) == (422, "field_invalid")


def test_png_bombs_and_broken_ones() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    start, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    bomb = start + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)) + end
    with pytest.raises((PictureTooLarge, PictureUnreadable)):
        read_png(bomb, 256)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))
    for broken in (start + head + end, start + head + text + end, start + end, start):
        with pytest.raises(PictureUnreadable):
            read_png(broken, 256)


def test_transparency_is_laid_on_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (3, 2), (0, 0, 0, 0)).save(file, "png")
    assert (read_png(file.getvalue(), 4) == 255).all()


def test_jpegs_to_compare_with(street: bytes) -> None:
    picture = read_png(street, 256)
    good = jpeg_as_good(picture, 28.0)
    assert good is not None
    assert psnr(pixels(good), picture) >= 28.0
    assert jpeg_as_good(picture, 98.0) is None
    small = jpeg_as_small(picture, 1_500)
    assert len(small) <= 1_500 < len(good)
    assert len(jpeg_as_small(picture, 10)) < len(small)
    assert psnr(picture, picture) == 99.0


def test_the_edge_process_has_no_settings_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COTAM_UPSTREAM_KEY", "secret")
    tell = "import os; print(sorted(k for k in os.environ if k.startswith('COTAM_')))"
    assert run([sys.executable, "-c", tell], b"", 60.0) == b"['COTAM_CONFIG']\n"


def test_the_edge_process_is_ended_in_time_and_may_fail() -> None:
    with pytest.raises(DeadlineExceeded):
        run([sys.executable, "-c", "while True: pass"], b"", 0.05)
    with pytest.raises(PictureUnreadable):
        run([sys.executable, "-c", "raise SystemExit(3)"], b"", 60.0)
    with pytest.raises(CotamError, match="ended with 1: oh"):
        run([sys.executable, "-c", "raise SystemExit('oh')"], b"", 60.0)
