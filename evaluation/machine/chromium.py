"""The edge for browsers in a headless Chromium, as `make web` built it, on a page of our server."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from cloud_server.playground.pages import MODULE, WEB
from shared.errors import UsageError

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_MS: Final = 300_000
_ISOLATED: Final = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
}
_OPEN: Final = """async ([threads]) => {
    window.edge = await import("/playground/web/cotam-edge.js");
    window.client = new edge.EdgeClient(location.origin, { threads });
    const start = performance.now();
    await client.load();
    return performance.now() - start;
}"""
_CODE: Final = """async ([file, options, times]) => {
    const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
    const picture = new Blob([bytes]);
    const taken = [];
    let stream;
    for (let i = 0; i < times; i++) {
        const start = performance.now();
        stream = await client.encode(picture, options);
        taken.push(performance.now() - start);
    }
    return [btoa(String.fromCharCode(...stream)), taken];
}"""
_ASK: Final = """async ([stream, question]) => {
    const bytes = Uint8Array.from(atob(stream), (letter) => letter.charCodeAt(0));
    return (await edge.query(location.origin, bytes, question)).answer;
}"""
_LOADED: Final = """() => performance.getEntriesByType("resource").map(
    ({ name, encodedBodySize, decodedBodySize }) => [name, encodedBodySize, decodedBodySize]
)"""


@dataclass(frozen=True)
class Loaded:
    """A file that a page loaded: its path, its bytes on the wire and unpacked."""

    path: str
    wire: int
    bytes: int


class BrowserEdge:
    """`cotam-edge` on an open page."""

    def __init__(self, page: Any, server: str, threads: int) -> None:
        self._page = page
        self._server = server
        self.load_ms = float(page.evaluate(_OPEN, [threads]))

    def encode(
        self, picture: bytes, times: int = 1, **options: object
    ) -> tuple[bytes, list[float]]:
        """The stream of a picture file, and the milliseconds that each of `times` encodes took."""
        stream, taken = self._page.evaluate(_CODE, [_text(picture), options, times])
        return base64.b64decode(stream), taken

    def ask(self, stream: bytes, question: str) -> str:
        """The server's answer to a question of the page."""
        return str(self._page.evaluate(_ASK, [_text(stream), question]))

    def loaded(self) -> list[Loaded]:
        """All files of the page so far."""
        entries = self._page.evaluate(_LOADED)
        return [Loaded(name.removeprefix(self._server), *sizes) for name, *sizes in entries]


@contextmanager
def browser_edge(server: str, threads: int = 1) -> Iterator[BrowserEdge]:
    """The edge on a page of a server's playground.

    threads: more than one need a page that is isolated across origins and may have workers: it is
    made so here, without the playground's policy.
    Raises UsageError where the edge was not built or there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    if not (WEB / MODULE).is_file():
        raise UsageError("the edge for browsers was not built", hint="make web")
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        raise UsageError("there is no Chromium", hint="Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        page = browser.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        if threads > 1:
            page.route("**/*", _isolate)
        # A file of the page that runs no script: what is loaded is what is asked for here.
        page.goto(f"{server}/playground/edge.json")
        try:
            yield BrowserEdge(page, server, threads)
        finally:
            browser.close()


def chromium_version() -> str:
    """The version of the Chromium that `browser_edge` starts."""
    executable = next(filter(None, map(shutil.which, _NAMES)))
    said = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[1]


def _isolate(route: Any) -> None:
    """Answer as for a page with threads: isolated, and with workers, which trusted types forbid."""
    answer = route.fetch()
    headers = {k: v for k, v in answer.headers.items() if k != "content-security-policy"}
    route.fulfill(response=answer, headers={**headers, **_ISOLATED})


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
