"""The proxy over loopback: before the real server with OpenAI's client, and one that records."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.responses import RedirectResponse, Response, StreamingResponse

from edge_client.coding.picture_coder import PictureCoder
from edge_client.proxy import app as proxy_app
from edge_client.proxy.rewriting import STREAM_URL
from edge_client.server.connection import Connection
from shared.bitstream import Bitstream
from shared.bundle import MANIFEST, Bundle
from tests.edge.proxying import EVENTS, Upstream, running

CHAT = "/v1/chat/completions"


@contextmanager
def proxied(server: str, key: str = "", **options: Any) -> Iterator[tuple[httpx.Client, list[str]]]:
    """A client of a proxy before a server, and the lines of its log."""
    lines: list[str] = []
    coder = PictureCoder(threads=1, **options)
    app = proxy_app.create_app(coder, Connection(server, key), lines.append)
    with running(app) as url, httpx.Client(base_url=url, timeout=300) as http:
        yield http, lines


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    with running(upstream.app()) as upstream.url:
        yield upstream


def asked(photo: Path, text: str = "how many cars?", **more: Any) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(photo.read_bytes()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"model": "", "messages": [{"role": "user", "content": parts}], **more}


def test_openais_client_gets_the_answer_of_send(
    server_url: str, photo: Path, cli: Callable[..., Any]
) -> None:
    openai = pytest.importorskip("openai")
    sent = cli("send", photo, "how many cars?", "--server", server_url, "--json")
    wanted = json.loads(sent.out)
    with proxied(server_url) as (http, lines):
        base = f"{http.base_url}/v1"
        with openai.OpenAI(base_url=base, api_key="none", max_retries=0) as client:
            (model,) = client.models.list()
            body = {**asked(photo), "model": model.id}
            whole = client.chat.completions.create(**body)
            with client.chat.completions.create(**body, stream=True) as chunks:
                pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
            body["messages"][0]["content"][0]["image_url"]["url"] = "http://127.0.0.1:1/x.png"
            with pytest.raises(openai.UnprocessableEntityError, match="fetches none"):
                client.chat.completions.create(**body)
        metrics = http.get("/metrics").text
    assert whole.choices[0].message.content == wanted["answer"] == "".join(pieces)
    picture, stream = photo.stat().st_size, wanted["image"]["bytes"]
    assert f"pictures: 1, {picture} bytes as {stream}" in lines[1]
    assert 'cotam_proxy_requests_total{status="200"} 3\n' in metrics
    assert 'cotam_proxy_requests_total{status="422"} 1\n' in metrics
    assert "cotam_proxy_pictures_total 2\n" in metrics
    assert f"cotam_proxy_picture_bytes_total {2 * picture}\n" in metrics
    assert f"cotam_proxy_stream_bytes_total {2 * stream}\n" in metrics


def test_several_requests_are_coded_at_a_time(
    upstream: Upstream, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits inside of the coder until the other is there as well."""
    both = threading.Barrier(2)
    encode = PictureCoder.encode

    def meet(coder: PictureCoder, picture: Any, *, name: str = "") -> Bitstream:
        both.wait(60)
        return encode(coder, picture, name=name)

    monkeypatch.setattr(PictureCoder, "encode", meet)
    with proxied(upstream.url) as (http, lines), ThreadPoolExecutor(2) as pool:
        body = asked(photo)
        sent = [pool.submit(http.post, CHAT, json=body) for _ in range(2)]
        assert all(future.result().is_success for future in sent)
        saved = http.get("/metrics").text
    (_, _, first), (_, _, second) = upstream.seen
    assert first == second
    came = len(httpx.Request("POST", upstream.url, json=body).content)
    assert f"{came} bytes in, {len(first)} out, {came - len(first)} saved" in lines[-1]
    assert f"cotam_proxy_saved_bytes_total {2 * (came - len(first))}\n" in saved


def test_what_holds_no_picture_passes_unchanged(upstream: Upstream) -> None:
    body = b'{ "stream_options":null, "x": 1.0,"messages":[{"role":"user","content":"hi"}]}'
    words = {"content-type": "application/json", "authorization": "Bearer k", "x-own": "\xe9"}
    headers = {name: value.encode("latin-1") for name, value in words.items()}
    with proxied(upstream.url) as (http, _):
        answer = http.post(f"{CHAT}?v=1", content=body, headers=headers)
        events = http.post(CHAT, json={"stream": True})
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["x-request-id"] == "r-7"
    (target, seen, came), _ = upstream.seen
    assert (target, came) == (f"{CHAT}?v=1", body)
    assert (seen["authorization"], seen["x-own"]) == ("Bearer k", "\xe9")
    assert "user-agent" not in seen
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.content == b"".join(EVENTS)


def test_its_own_key_and_size_hold(upstream: Upstream, photo: Path) -> None:
    with proxied(upstream.url, key="own", budget=700, resolution=128) as (http, _):
        headers = {"authorization": "Bearer other"}
        http.post(CHAT, json=asked(photo, n=1), headers=headers).raise_for_status()
        upstream.replies.append(Response(b"busy", 429, headers={"retry-after": "3"}))
        busy = http.post(CHAT, json=asked(photo))
    assert (busy.status_code, busy.content, busy.headers["retry-after"]) == (429, b"busy", "3")
    _, seen, body = upstream.seen[0]
    assert seen["authorization"] == "Bearer own"
    value = json.loads(body)
    assert value["n"] == 1
    stream = stream_in(body)
    assert (stream.width, stream.height) == (128, 80)
    assert len(stream.to_bytes()) <= 700


def stream_in(body: bytes) -> Bitstream:
    url = json.loads(body)["messages"][0]["content"][0]["image_url"]["url"]
    assert url.startswith(STREAM_URL)
    return Bitstream.from_bytes(base64.b64decode(url.removeprefix(STREAM_URL)))


def test_pictures_have_the_resolution_that_the_server_asks_for(
    upstream: Upstream, photo: Path
) -> None:
    model = {"id": "mine", "view": "adapter", "bundles": [], "resolution": 192}
    upstream.pages["/v1/models"] = json.dumps({"data": [model]}).encode()
    with proxied(upstream.url) as (http, _):
        widths = [stream_in(http.post(CHAT, json=asked(photo)).content).width]
        upstream.pages = {}
        widths.append(stream_in(http.post(CHAT, json=asked(photo)).content).width)
    with proxied(upstream.url, bundle="tiny") as (http, _):
        widths.append(stream_in(http.post(CHAT, json=asked(photo)).content).width)
    assert widths == [192, 192, 256]


@pytest.mark.parametrize("any_bundle", [True, False])
def test_it_agrees_with_the_server_on_a_bundle(
    upstream: Upstream, photo: Path, other: Bundle, problem: Any, cache: Path, any_bundle: bool
) -> None:
    url = f"/v1/bundles/{other.hex_id}"
    upstream.pages = {f"{url}/files/{n}": other.path(n).read_bytes() for n in other.files("edge")}
    upstream.pages[url] = (other.root / MANIFEST).read_bytes()
    model = {"id": "tiny", "view": "adapter", "bundles": [other.hex_id]}
    upstream.pages["/v1/models"] = json.dumps({"data": [model]}).encode()
    status, headers, refusal = problem(409, "bundle_unknown", "not here")
    upstream.replies.append(Response(refusal, status, headers))
    with proxied(upstream.url, bundle="auto" if any_bundle else "tiny") as (http, _):
        answer = http.post(CHAT, json=asked(photo))
    if any_bundle:
        assert answer.status_code == 200
        assert stream_in(answer.content).codec_id == other.codec_id
        assert stream_in(answer.content).width == 128
    else:
        assert (answer.status_code, answer.content) == (409, refusal)


def test_refusals_have_openais_form(
    upstream: Upstream, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_app, "MOST_BYTES", 1 << 20)
    broken = json.dumps(asked(Path(__file__))).encode()
    kind = {"content-type": "application/json"}
    with proxied(upstream.url) as (http, lines):
        replies = [
            (http.post(CHAT, content=b"{", headers=kind), 400, "request", "no JSON"),
            (http.post(CHAT, content=b"{}"), 400, "request", "Content-Type"),
            (http.post(CHAT, content=broken, headers=kind), 400, "picture_unreadable", "messages"),
            (
                http.post(CHAT, content=b" " * (2 << 20), headers=kind),
                413,
                "body_too_large",
                "1048576",
            ),
            (http.get("/v1/models", headers={"origin": "http://a"}), 400, "request", "browser"),
            (http.get("/v1/files"), 404, "not_found", "/v1/files"),
            (http.get(CHAT), 405, "method_not_allowed", "GET"),
        ]
        assert http.get("/v1/models/a%1Bb", headers={"host": "["}).status_code == 404
        assert lines[-1] == "GET /v1/models/a%1Bb 404"
        upstream.replies.append(RedirectResponse("http://elsewhere.example/"))
        replies.append((http.post(CHAT, json={}), 502, "upstream", "elsewhere.example"))
    for reply, status, code, words in replies:
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        assert error["code"] == code
        assert words in error["message"]
        assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert len([line for line in lines if " 400: " in line]) == 4
    assert len(upstream.seen) == 1


def test_a_server_that_is_away(photo: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with proxied(away) as (http, _):
        answer = http.post(CHAT, json={"messages": []})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "server_unreachable")
        assert http.get("/v1/models").status_code == 502
        assert 'requests_total{status="502"} 2' in http.get("/metrics").text


def test_an_answer_that_breaks_off_ends_with_an_error(upstream: Upstream) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"

    headers = {"content-length": "99", "content-type": "text/event-stream"}
    upstream.replies.append(StreamingResponse(cut(), headers=headers))
    with proxied(upstream.url) as (http, lines):
        events = http.post(CHAT, json={}).text
    first, last = events.split("\n\n")[0], events.strip().split("\n\n")[-1]
    assert first == "data: 1"
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_unreachable"
    assert lines[-1].startswith("an answer broke off")


def test_the_server_hears_of_a_caller_that_leaves(upstream: Upstream) -> None:
    left = threading.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: 1\n\n"
                await asyncio.sleep(0)
        finally:
            left.set()

    upstream.replies.append(StreamingResponse(endless(), media_type="text/event-stream"))
    with proxied(upstream.url) as (http, _):
        with http.stream("POST", CHAT, json={}) as events:
            assert next(events.iter_lines()) == "data: 1"
        assert left.wait(60)


@pytest.mark.skipif(sys.platform == "win32", reason="ends by a signal")
def test_the_command_listens_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_client", "proxy", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        url = line.split()[2].removesuffix("/v1;")
        assert "cotam_proxy_pictures_total 0" in httpx.get(f"{url}/metrics", timeout=60).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("address", ["9000", "nowhere.invalid:1", "127.0.0.1:99999", "[::1:2"])
def test_an_address_that_is_none(address: str, cli: Callable[..., Any]) -> None:
    ended = cli("proxy", "--listen", address)
    assert ended.code == 2
    assert ended.err.startswith(f"error: --listen is {address!r}: ")
    assert ended.err.count("\n") == 1
