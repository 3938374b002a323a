"""What the edge's tests share: pictures, the bundle, a command line, a small real server."""

from __future__ import annotations

import io
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

from edge_client.coding.encoder import Encoder
from edge_client.settings import ENVIRONMENT
from shared.bitstream import Bitstream
from shared.bundle import DECODER, MANIFEST, Bundle
from shared.query_body import split_body

Array = np.ndarray


def draw(width: int, height: int, seed: int = 0) -> Array:
    """A picture u8 [height, width, 3] with smooth areas, edges and some noise."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / chance.uniform(9, 60) + y / chance.uniform(9, 60)) for _ in range(3)]
    picture = 128 + 70 * np.stack(waves, axis=-1)
    left, top = int(chance.integers(width)), int(chance.integers(height))
    picture[top : top + height // 3 + 1, left : left + width // 3 + 1] = chance.integers(0, 255, 3)
    picture += chance.normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(name="draw", scope="session")
def _draw() -> Callable[..., Array]:
    return draw


@pytest.fixture(scope="session")
def encoder(bundle: Bundle) -> Encoder:
    return Encoder(bundle, threads=1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A PNG of 256x160."""
    path = tmp_path / "photo.png"
    Image.fromarray(draw(256, 160)).save(path)
    return path


@dataclass
class Ended:
    """What a run of the command line left: exit code, standard output and error."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run the command line in this process, with no settings but those of the test."""
    for name in (*ENVIRONMENT.values(), "COTAM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path, stdin: bytes = b"") -> Ended:
        from edge_client.__main__ import main

        monkeypatch.setattr(sys, "argv", ["edge_client", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        captured = capfd.readouterr()
        return Ended(code if isinstance(code, int) else int(code is not None), *captured)

    return call


Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Seen:
    """A question as it arrived."""

    path: str
    headers: dict[str, str]
    fields: dict[str, bytes]
    streams: list[bytes]

    @property
    def prompt(self) -> str:
        return self.fields["prompt"].decode()


@dataclass
class Server:
    """A server on loopback that speaks the protocol and keeps what it saw.

    `replies` are given out first, in order; after them questions are answered with the size of
    their picture. `pages` are what GET finds; `busy` is the reply to GET instead.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)
    busy: Reply | None = None
    view: str = "adapter"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, seen: Seen) -> Reply:
        with self.lock:
            self.seen.append(seen)
            if self.replies:
                return self.replies.pop(0)
        return self.answer(seen)

    def answer(self, seen: Seen) -> Reply:
        data = seen.fields["bitstream"]
        stream = Bitstream.from_bytes(data)
        body = {
            "id": "r-1",
            "answer": f"{stream.width} by {stream.height}",
            "model": "tiny",
            "view": self.view,
            "image": {
                "width": stream.width,
                "height": stream.height,
                "bytes": len(data),
                "bpp": 8 * len(data) / (stream.width * stream.height),
                "codec": stream.codec_id.hex(),
            },
            "usage": {"prompt_tokens": 4, "completion_tokens": 3},
            "timings_ms": {"decode": 1, "vision": 2, "generate": 3, "total": 6},
        }
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def problem(status: int, code: str, detail: str, **more: Any) -> Reply:
    """A reply as the cloud words its errors."""
    body = {"type": f"urn:cotam:error:{code}", "title": code, "status": status, "detail": detail}
    headers = {"content-type": "application/problem+json"}
    if "retry_after" in more:
        headers["retry-after"] = str(more.pop("retry_after"))
    return status, headers, json.dumps({**body, "code": code, **more}).encode()


@pytest.fixture(name="problem")
def _problem() -> Callable[..., Reply]:
    return problem


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            url = urlsplit(self.path)
            fields = {name: value.encode() for name, value in parse_qsl(url.query)}
            enhances = url.path.endswith("/enhancement")
            fields["prompt"], streams = (b"", [body]) if enhances else split_body(body)
            fields["bitstream"] = streams[0]
            headers = {k.lower(): v for k, v in self.headers.items()}
            self._send(*state.reply(Seen(url.path, headers, fields, streams)))

        def do_GET(self) -> None:
            page = state.pages.get(self.path)
            if state.busy is not None:
                self._send(*state.busy)
            elif page is None:
                self._send(*problem(404, "not_found", f"there is no {self.path}"))
            else:
                self._send(200, {"content-type": "application/json"}, page)

        def _send(self, status: int, more: dict[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Quiet: the test's output is the client's."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched bundles go: never into the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    return tmp_path / "xdg-cache" / "cotam" / "bundles"


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The edge part of a bundle of another codec, for pictures of another resolution."""
    root = tmp_path / "other"
    root.mkdir()
    for name in bundle.files("edge"):
        shutil.copy(bundle.root / name, root / name)
    manifest = json.loads((bundle.root / MANIFEST).read_bytes())
    manifest["files"][DECODER]["sha256"] = "0" * 64
    changed = {**manifest, "version": "9.9", "resolution": 128}
    (root / MANIFEST).write_text(json.dumps(changed))
    return Bundle.open(root)


@pytest.fixture
def store(server: Any, other: Bundle) -> Any:
    """A server that takes the other bundle alone, and hands it out."""
    url = f"/v1/bundles/{other.hex_id}"
    server.pages = {f"{url}/files/{n}": other.path(n).read_bytes() for n in other.files("edge")}
    server.pages[url] = (other.root / MANIFEST).read_bytes()
    model = {"id": "tiny", "view": "adapter", "bundles": [other.hex_id]}
    server.pages["/v1/models"] = json.dumps({"data": [model]}).encode()
    return server
