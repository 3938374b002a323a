"""The playground asks back: what a device would send is made by the server's own edge."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cloud_server.playground.pages import STATIC
from shared.bundle import Bundle
from shared.layers.cells import Cells

Serve = Callable[..., str]
STREAM = "application/vnd.cotam"
BROWSER = shutil.which("chromium") or ""


@pytest.fixture(scope="module")
def url(serve: Serve, continuing_bundle: Bundle) -> str:
    """A server that is never sure."""
    return serve(bundle=str(continuing_bundle.root), calibration="0.001,0")


@pytest.fixture(scope="module")
def street() -> bytes:
    return (STATIC / "street.png").read_bytes()


def post(url: str, path: str, body: bytes, kind: str = "image/png", **query: Any) -> httpx.Response:
    headers = {"content-type": kind}
    return httpx.post(f"{url}{path}", content=body, headers=headers, params=query, timeout=300)


def test_what_is_asked_for_is_made_and_taken(url: str, street: bytes) -> None:
    small = post(url, "/playground/pictures", street, quality=0).json()
    body = b"how many cars?" + base64.b64decode(small["stream"])
    asked = post(url, "/v1/query", body, STREAM, ask_back=True)
    assert asked.status_code == 202
    need = asked.json()["need"]
    wish = {"cells": need["cells"], "quality": need["quality"]}
    finer = post(url, "/playground/enhancements", street, **wish).json()
    wanted = Cells.decode(base64.b64decode(need["cells"]), 256, 256)
    assert finer["cells"] == wanted.mask(256, 256).tolist()
    assert finer["decoded"] != small["decoded"]
    enhancement = base64.b64decode(finer["enhancement"])
    assert finer["bytes"] == len(enhancement)
    response = post(url, f"/v1/query/{need['handle']}/enhancement", enhancement, STREAM)
    assert (response.status_code, response.json()["need"]) == (200, None)


def test_what_is_refused(url: str, street: bytes) -> None:
    other = base64.b64encode(Cells.at([(0, 0)], 64, 64, 64).encode()).decode()
    for cells, code in (("!", "field_invalid"), ("", "enhancement_cells")):
        refused = post(url, "/playground/enhancements", street, cells=cells, quality=5)
        assert refused.json()["code"] == code
    for body, query in ((b"no picture", {"cells": other, "quality": 5}), (street, {"quality": 5})):
        assert post(url, "/playground/enhancements", body, **query).status_code in (400, 422)


@pytest.mark.skipif(not BROWSER, reason="there is no Chromium: install it")
def test_the_page_shows_each_step(url: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    faults: list[str] = []
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.goto(url)
        page.wait_for_selector("body[data-state=shown]")
        page.check("#ask-back")
        page.click("#suggestions button:first-child")
        page.wait_for_selector("body[data-state=answered]")
        captions = [
            caption.inner_text() for caption in page.query_selector_all(".steps figcaption")
        ]
        notes = page.inner_text("#answers small")
        browser.close()
    assert [caption.split(":")[0] for caption in captions] == ["first", "asked for", "came"]
    assert "B sent" in notes
    assert faults == []
