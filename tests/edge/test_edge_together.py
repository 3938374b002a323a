"""Several pictures in one question, and pictures that are named by a URL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from edge_client import EdgeClient
from edge_client.pictures import download as downloads
from edge_client.pictures.download import download
from shared.bitstream import Bitstream
from shared.errors import PictureTooLarge, PictureUnreadable, UsageError
from shared.prompt import MAX_PICTURES


@pytest.fixture
def pair(tmp_path: Path, draw: Callable[..., Any]) -> list[Path]:
    paths = [tmp_path / "before.png", tmp_path / "after.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(draw(120 + 40 * seed, 90, seed)).save(path)
    return paths


def test_one_question_about_two_pictures(cli: Any, server: Any, pair: list[Path]) -> None:
    completed = cli("send", *pair, "which is newer?", "--together", "--server", server.url)
    assert (completed.code, completed.out) == (0, "120 by 90\n")
    (seen,) = server.seen
    assert seen.prompt == "which is newer?"
    assert [Bitstream.from_bytes(stream).width for stream in seen.streams] == [120, 160]
    with EdgeClient(server.url) as client:
        streams = [client.encode(path) for path in pair]
        assert client.ask(pair, "which is newer?").answer == "120 by 90"
        assert client.ask([pair[0], streams[1]], "which?").answer == "120 by 90"
        with pytest.raises(UsageError, match=f"1 to {MAX_PICTURES} pictures, not 0"):
            client.ask([], "which?")
    assert [seen.streams for seen in server.seen[1:]] == [[s.to_bytes() for s in streams]] * 2


def test_streams_are_told_and_kept(cli: Any, server: Any, pair: list[Path], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    completed = cli(
        *("send", *pair, "which?", "--together", "--json", "--server", server.url),
        *("--save-bitstream", kept),
    )
    record = json.loads(completed.out)
    assert record["pictures"] == [str(path) for path in pair]
    streams = [(kept / f"{path.stem}.cotam").read_bytes() for path in pair]
    assert server.seen[0].streams == streams
    assert [stream["bytes"] for stream in record["streams"]] == [len(coded) for coded in streams]


def test_what_cannot_be_sent_waits_whole(cli: Any, server: Any, pair: list[Path]) -> None:
    away = "http://127.0.0.1:9"
    completed = cli("send", *pair, "which?", "--together", "--server", away, "--retries", "0")
    assert completed.code == 4
    assert f"{pair[0]}, {pair[1]}" in cli("spool", "list").out
    flushed = cli("spool", "flush", "--server", server.url)
    assert flushed.out == f"{pair[0]}, {pair[1]}\t120 by 90\n"
    (seen,) = server.seen
    assert [Bitstream.from_bytes(stream).width for stream in seen.streams] == [120, 160]


def test_together_is_refused(cli: Any, pair: list[Path], tmp_path: Path) -> None:
    many = [tmp_path / f"{number}.png" for number in range(MAX_PICTURES + 1)]
    for arguments, message in (
        ((*many, "which?"), f"1 to {MAX_PICTURES} pictures, not {MAX_PICTURES + 1}"),
        ((pair[0], "which?", "--watch", tmp_path), "--together with --watch"),
    ):
        refused = cli("send", *arguments, "--together")
        assert refused.code == 2
        assert message in refused.err


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, Any], list[dict[str, str]]]]:
    """A small web server: pages are bytes, or the target of a redirect."""
    pages: dict[str, Any] = {}
    headers: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append({k.lower(): v for k, v in self.headers.items()})
            page = pages.get(self.path)
            self.send_response(404 if page is None else 302 if isinstance(page, str) else 200)
            if isinstance(page, str):
                self.send_header("location", page)
            self.end_headers()
            if isinstance(page, bytes):
                self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", pages, headers
        http.shutdown()
        thread.join()


def test_a_url_is_a_picture(
    cli: Any, server: Any, web: Any, pair: list[Path], tmp_path: Path, monkeypatch: Any
) -> None:
    url, pages, headers = web
    pages["/a/yard.png?size=large"] = pair[0].read_bytes()
    pages["/short"] = "/a/yard.png?size=large"
    with EdgeClient(server.url) as client:
        coded = client.encode(pair[0]).to_bytes()
    pages["/yard.cotam"] = coded
    monkeypatch.chdir(tmp_path)
    named = [f"{url}/a/yard.png?size=large", f"{url}/short", f"{url}/yard.cotam"]
    completed = cli("send", *named, "what?", "--server", server.url, "--api-key", "secret")
    assert (completed.code, len(completed.out.splitlines())) == (0, 3)
    assert [seen.streams for seen in server.seen] == [[coded]] * 3
    assert all("authorization" not in asked and "cookie" not in asked for asked in headers)
    assert cli("encode", named[0]).code == 0
    assert (tmp_path / "yard.cotam").read_bytes() == coded


def test_urls_that_are_refused(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, pages, _ = web
    pages |= {"/loop": "/loop", "/file": "file:///etc/passwd", "/large": b"x" * 100}
    for path, message in (
        ("/none", "answered 404"),
        ("/loop", "sent on more than 5 times"),
        ("/file", "cannot be fetched"),
    ):
        with pytest.raises(PictureUnreadable, match=message):
            download(url + path)
    with pytest.raises(PictureUnreadable, match="cannot be fetched"):
        download("http://127.0.0.1:9/picture.png")
    monkeypatch.setattr(downloads, "MAX_SECONDS", -1.0)
    with pytest.raises(PictureUnreadable, match="did not come in time"):
        download(f"{url}/large")
    monkeypatch.setattr(downloads, "MAX_BYTES", 99)
    with pytest.raises(PictureTooLarge, match="over 99 bytes"):
        download(f"{url}/large")


def test_https_is_not_left_for_http() -> None:
    request = httpx.Request("GET", "https://example.org/a.png")
    response = httpx.Response(
        302, headers={"location": "http://example.org/a.png"}, request=request
    )
    response.next_request = httpx.Request("GET", "http://example.org/a.png")
    with pytest.raises(PictureUnreadable, match="it leads to http"):
        downloads._next(response, "https://example.org/a.png")
