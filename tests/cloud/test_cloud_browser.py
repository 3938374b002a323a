"""The playground in a real browser: headless Chromium as the system has it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloud_server import decode
from cloud_server.guard.keys import hash_key, new_key
from cloud_server.playground.pages import MODULE, WEB
from shared.bitstream import Bitstream

Serve = Callable[..., str]
KEY = new_key()
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
REFUSED = "Failed to load resource: the server responded with a status of 4"
# Slow machines start slow browsers; nothing waits this long where it need not.
PATIENCE_MS = 120_000

pytestmark = pytest.mark.skipif(
    not BROWSER, reason="there is no Chromium: install it (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def url(serve: Serve, talkative: Path) -> str:
    """A server with a key, whose answers are as long as asked for."""
    return serve(mllm=str(talkative), api_keys=f"me={hash_key(KEY)}")


@pytest.fixture
def page(url: str) -> Iterator[Any]:
    """The page behind its door, picture shown. It may complain of nothing, and ask nobody else."""
    sync_api = pytest.importorskip("playwright.sync_api")
    faults: list[str] = []
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("#door:visible")
        assert "asks for a key" in page.inner_text("#trouble")
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        shown(page)
        yield page
        browser.close()
    assert [fault for fault in faults if not fault.startswith(REFUSED)] == []
    assert all(address.startswith((url, f"blob:{url}")) for address in asked)


def shown(page: Any, state: str = "shown") -> None:
    page.wait_for_selector(f"body[data-state={state}]")


@pytest.mark.skipif(not (WEB / MODULE).is_file(), reason="needs the edge for browsers: make web")
def test_nothing_but_streams_leaves_a_page_that_codes(page: Any, tmp_path: Path) -> None:
    assert page.inner_text("#place") == "It is coded here, and never leaves this page."
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 400, 3), np.uint8)).save(photo)
    page.evaluate(
        """() => {
            window.sent = [];
            const fetch = window.fetch;
            window.fetch = async (url, options) => {
                if (options?.body) {
                    const bytes = new Uint8Array(await options.body.arrayBuffer());
                    window.sent.push(Array.from(bytes));
                }
                return fetch(url, options);
            };
            document.body.dataset.state = "";
        }"""
    )
    page.set_input_files("#file", photo)
    shown(page)
    page.fill("#prompt", "hm?")
    page.press("#prompt", "Enter")
    shown(page, "answered")
    stream, question = map(bytes, page.evaluate("window.sent"))
    assert Bitstream.from_bytes(stream).width == 256
    assert question == b"hm?" + stream
    size = f"{len(stream):,} B"
    assert page.inner_text("#where") == f"Coded in this page: {size} leave it, and your questions."
    assert page.inner_text("#size-ours") == size


def test_a_page_that_cannot_code_says_why(page: Any) -> None:
    why = page.evaluate(
        """async () => {
            Object.defineProperty(window, "isSecureContext", {value: false});
            const { openEdge } = await import("/playground/edge.js");
            return (await openEdge("")).why;
        }"""
    )
    built = (WEB / MODULE).is_file()
    assert why == (
        "this page came without https, so nothing can be checked"
        if built
        else "this server was installed without the edge for browsers"
    )


def test_from_a_picture_to_an_answer_that_streams(page: Any) -> None:
    assert page.is_hidden("#door")
    assert page.inner_text("#sees") == "adapted latents"
    size = page.inner_text("#size-ours")
    assert page.inner_text("#about-decoded").startswith(size)
    assert page.evaluate("document.getElementById('decoded').naturalWidth") == 256
    assert page.evaluate("document.getElementById('jpeg').naturalWidth") == 256
    assert "of 256 cells" in page.inner_text("#about-map")
    page.evaluate(
        """() => {
            window.steps = [];
            new MutationObserver(() => {
                const text = document.querySelector("#answers p")?.textContent;
                if (text && text !== window.steps.at(-1)) window.steps.push(text);
            }).observe(document.getElementById("answers"), {childList: true, subtree: true});
        }"""
    )
    page.click("#suggestions button:first-child")
    shown(page, "answered")
    steps = page.evaluate("window.steps")
    assert len(steps) > 3
    assert all(b.startswith(a) for a, b in pairwise(steps))
    assert page.inner_text("#answers p") == steps[-1]
    notes = page.inner_text("#answers small")
    assert notes.startswith(f"{size} sent · decode ")
    assert "the scene says: " in notes

    page.evaluate("document.body.dataset.state = ''")
    page.uncheck("#guidance")
    shown(page)
    assert page.inner_text("#about-map") == "the same everywhere"
    assert page.inner_text("#size-ours") != size


def test_stream_and_picture_can_be_saved(page: Any, tmp_path: Path) -> None:
    saved = {}
    for link in ("#save-stream", "#save-decoded"):
        with page.expect_download() as download:
            page.click(link)
        saved[link] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[link])
    assert [path.name for path in saved.values()] == ["street.cotam", "street.decoded.png"]
    size = len(saved["#save-stream"].read_bytes())
    assert page.inner_text("#about-decoded").startswith(f"{size} B, ")
    with Image.open(saved["#save-decoded"]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(decode(saved["#save-stream"])))


def test_pictures_and_streams_of_ones_own(page: Any, stream: bytes, tmp_path: Path) -> None:
    photo = io.BytesIO()
    waves = np.indices((600, 900)).sum(axis=0) % 256
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(waves.astype(np.uint8)).convert("RGB").save(photo, "jpeg", exif=exif)
    for name, raw, caption in (
        ("photo.jpg", photo.getvalue(), "171 \u00d7 256, file of"),
        ("street.cotam", stream, "a stream"),
        ("words.txt", b"no picture", None),
        ("odd.cotam", b"no stream", None),
    ):
        file = tmp_path / name
        file.write_bytes(raw)
        page.evaluate("document.body.dataset.state = ''")
        page.set_input_files("#file", file)
        if caption is None:
            page.wait_for_selector("#trouble:visible")
        else:
            shown(page)
            assert page.inner_text("#about-picture").startswith(caption)
            assert page.is_hidden("#trouble")


def test_markup_stays_text(page: Any) -> None:
    for prompt in ("<img src=x onerror=alert(1)> hm?", "<b>hm?</b> <image>"):
        page.evaluate("document.body.dataset.state = ''")
        page.fill("#prompt", prompt)
        page.press("#prompt", "Enter")
        shown(page, "answered")
        assert page.inner_text("#answers q") == prompt
    assert "'<image>'" in page.inner_text("#answers p")
    assert page.evaluate("document.querySelectorAll('#answers img, #answers b').length") == 0
