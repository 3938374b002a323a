"""A language model behind another server: a small real one that speaks chat completions."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from cloud_server.decoder import Decoder
from cloud_server.engine import Engine
from cloud_server.mllm.circuit import Circuit
from cloud_server.mllm.upstream import Upstream, UpstreamOptions
from cloud_server.work import Work
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import UpstreamError, UsageError


@dataclass
class Stub:
    """What the small server was asked, and the failures that it still has to give."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    cut: bool = False


@pytest.fixture
def stub() -> Iterator[Stub]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send(200, json.dumps({"object": "list", "data": [{"id": "large"}]}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append(body)
            state.keys.append(self.headers.get("authorization", ""))
            if state.failures:
                status, retry_after = state.failures.pop(0)
                self._send(status, b"{}", retry_after)
                return
            prompt = body["messages"][0]["content"][1]["text"]
            deltas: list[dict[str, Any]] = [
                {"choices": [{"index": 0, "delta": {"content": f"{word} "}}]}
                for word in prompt.split()
            ]
            deltas += [
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
                {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
            ]
            lines = [f"data: {json.dumps(delta)}\n\n" for delta in deltas]
            if not state.cut:
                lines.append("data: [DONE]\n\n")
            self._send(200, "".join(lines).encode())

        def _send(self, status: int, body: bytes, retry_after: str = "") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if retry_after:
                self.send_header("retry-after", retry_after)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/v1/"
        yield state
        server.shutdown()
        thread.join()


def backend(stub: Stub, pauses: list[float], **options: Any) -> Upstream:
    return Upstream(stub.url, UpstreamOptions(**options), Circuit(4, 10.0), pauses.append)


def asked(engine: Engine, stream: bytes, *prompts: str) -> list[Work]:
    works = [Work(Bitstream.from_bytes(stream), prompt, 9) for prompt in prompts]
    engine.run(works)
    return works


@pytest.fixture
def engine(bundle: Bundle, stub: Stub) -> Engine:
    return Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(key="secret"))


def test_it_gets_the_decoded_picture(
    engine: Engine, bundle: Bundle, stub: Stub, stream: bytes
) -> None:
    pieces: list[str] = []
    work = Work(Bitstream.from_bytes(stream), "how many cars?", 9, on_text=pieces.append)
    engine.run([work])
    assert work.answer
    assert work.answer.text == "".join(pieces) == "how many cars? "
    assert work.answer.finish == "length"
    assert (work.answer.prompt_tokens, work.answer.completion_tokens) == (7, 3)
    (body,) = stub.asked
    assert (body["model"], body["max_tokens"], stub.keys) == ("large", 9, ["Bearer secret"])
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    png = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    decoded = Decoder(bundle, torch.device("cpu")).decode(Bitstream.from_bytes(stream))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), decoded.picture)


def test_it_gets_features_where_it_takes_them(
    bundle: Bundle, stub: Stub, talkative: Path, stranger: Path, stream: bytes
) -> None:
    engine = Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(tower=str(talkative)))
    assert engine.backend.view(bundle.id) == "adapter"
    (work,) = asked(engine, stream, "how many cars?")
    assert work.seen
    assert work.answer
    assert (work.seen.view, work.answer.text) == ("adapter", "how many cars? ")
    part = stub.asked[0]["messages"][0]["content"][0]
    assert part["type"] == "image_embeds"
    sent = torch.load(io.BytesIO(base64.b64decode(part["image_embeds"])), weights_only=True)
    local = Engine([bundle], str(talkative), "cpu", 1)
    (same,) = asked(local, stream, "how many cars?")
    assert same.seen
    torch.testing.assert_close(sent, same.seen.content)
    other = Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(tower=str(stranger)))
    assert other.backend.view(bundle.id) == "picture"


def test_a_tower_that_is_none(bundle: Bundle, stub: Stub, qwen: Path, tmp_path: Path) -> None:
    for folder, told in ((qwen, "it is a qwen2_vl"), (tmp_path, "no vision tower")):
        with pytest.raises(UsageError, match=told):
            Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(tower=str(folder)))


def test_a_batch_is_asked_at_once(engine: Engine, stream: bytes) -> None:
    works = asked(engine, stream, "one", "two", "three")
    assert [work.answer.text for work in works if work.answer] == ["one ", "two ", "three "]


def test_one_failure_leaves_the_batch_alone(engine: Engine, stub: Stub, stream: bytes) -> None:
    stub.failures = [(400, "")]
    works = asked(engine, stream, "one", "two")
    assert sorted(work.error is None for work in works) == [False, True]
    assert len(stub.asked) == 2


def test_retries_wait_as_long_as_the_upstream_says(stub: Stub, stream: bytes) -> None:
    pauses: list[float] = []
    upstream = backend(stub, pauses)
    stub.failures = [(503, "3"), (429, "")]
    (answer,) = upstream.answer([_question("hm?")])
    assert answer.text == "hm? "
    assert pauses == [3.0, 0.5]
    stub.failures = [(503, "2")] * 3
    (error,) = upstream.answer([_question("hm?")])
    assert isinstance(error, UpstreamError)
    assert error.retry_after == 2.0


def test_a_refusal_is_not_repeated(stub: Stub) -> None:
    stub.failures = [(401, "")]
    (error,) = backend(stub, []).answer([_question("hm?")])
    assert isinstance(error, UpstreamError)
    assert len(stub.asked) == 1


def test_words_that_were_passed_on_are_not_asked_for_again(stub: Stub) -> None:
    stub.cut = True
    (error,) = backend(stub, []).answer([_question("hm?")])
    assert isinstance(error, UpstreamError)
    assert len(stub.asked) == 1


def test_the_circuit_opens_and_tries_again() -> None:
    now = [0.0]
    circuit = Circuit(2, 10.0, clock=lambda: now[0])
    circuit.check()
    circuit.failed()
    circuit.check()
    circuit.failed()
    now[0] = 4.0
    with pytest.raises(UpstreamError) as raised:
        circuit.check()
    assert raised.value.retry_after == 6.0
    now[0] = 10.0
    circuit.check()
    with pytest.raises(UpstreamError):
        circuit.check()
    circuit.succeeded()
    circuit.check()


def test_an_address_where_nobody_is(bundle: Bundle) -> None:
    with pytest.raises(UpstreamError, match="names no model"):
        Engine([bundle], "http://127.0.0.1:9/v1", "cpu", 1)


def test_over_http(serve, stub: Stub, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    url = serve(mllm=stub.url)
    form = {"bitstream": stream, "prompt": (None, "what now")}
    found = httpx.post(f"{url}/v1/query", files=form, timeout=300).json()
    assert (found["answer"], found["model"], found["view"]) == ("what now ", "large", "picture")
    stub.failures = [(400, "")]
    failed = httpx.post(f"{url}/v1/query", files=form, timeout=300)
    assert (failed.status_code, failed.json()["code"]) == (502, "upstream")


def _question(prompt: str) -> Any:
    from cloud_server.mllm.base import Question, Seen

    return Question(Seen("picture", "data:,", 6), prompt, 4)
