"""A small real server that speaks chat completions, as an upstream of ours."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 120.0


@dataclass
class Stub:
    """What the small server was asked, and the failures that it still has to give.

    It answers in the words of the prompt, a space before each, as vLLM does. After the first of a
    prompt that begins with "wait", and before any where it is `silent`, it waits for `go`; then it
    notes whether it was hung up on. Word n has the log-probability -n / 10; a server that is not to
    tell these refuses to. `before` is called with each prompt before it is answered.
    """

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    cut: bool = False
    tells: bool = True
    silent: bool = False
    go: threading.Event = field(default_factory=threading.Event)
    more: int = 0
    before: Callable[[str], None] = lambda prompt: None
    hung_up: threading.Event = field(default_factory=threading.Event)


@contextmanager
def small_upstream() -> Iterator[Stub]:
    """Such a server on loopback."""
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
            if state.silent:
                state.go.wait(PATIENCE_S)
                return
            if body.get("logprobs") and not state.tells:
                self._send(400, b'{"error": {"message": "logprobs are not supported"}}')
                return
            prompt = body["messages"][0]["content"][-1]["text"]
            state.before(prompt)
            deltas: list[dict[str, Any]] = [
                {"choices": [{"index": 0, "delta": {"content": f" {word}"}}]}
                for word in prompt.split()
            ]
            if body.get("logprobs"):
                for number, delta in enumerate(deltas, 1):
                    logprobs = {"content": [{"token": "word", "logprob": -number / 10}]}
                    delta["choices"][0]["logprobs"] = logprobs
            deltas += [
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
                {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
            ]
            lines = [f"data: {json.dumps(delta)}\n\n" for delta in deltas]
            if not state.cut:
                lines.append("data: [DONE]\n\n")
            if prompt.startswith("wait"):
                self._haltingly([line.encode() for line in lines])
            else:
                self._send(200, "".join(lines).encode())

        def _haltingly(self, lines: list[bytes]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(lines[0])
            if not state.go.wait(PATIENCE_S):
                return
            try:
                for line in [lines[1]] * state.more + lines[1:]:
                    self.wfile.write(line)
            except ConnectionError:
                state.hung_up.set()

        def _send(self, status: int, body: bytes, retry_after: str = "") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if retry_after:
                self.send_header("retry-after", retry_after)
            self.end_headers()
            with suppress(ConnectionError):  # who asked was killed
                self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/v1/"
        yield state
        state.go.set()
        server.shutdown()
        thread.join()
