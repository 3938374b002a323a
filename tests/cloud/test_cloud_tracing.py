"""Traces arrive at a collector: a small real one that speaks OTLP over HTTP."""

from __future__ import annotations

import gzip
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from cloud_server.observe.tracing import Tracing
from cloud_server.settings import load_settings
from shared.errors import UsageError

Serve = Callable[..., str]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans of POST /v1/traces; `take` waits for the next one."""

    def __init__(self, url: str, spans: queue.Queue[Any]) -> None:
        self.url = url
        self._spans = spans

    def until(self, kind: int) -> list[Any]:
        """The spans up to the first one of a kind."""
        spans = [self._spans.get(timeout=120)]
        while spans[-1].kind != kind:
            spans.append(self._spans.get(timeout=120))
        return spans


@pytest.fixture
def collector() -> Iterator[Collector]:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    spans: queue.Queue[Any] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in service.ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        spans.put(span)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Collector(f"http://127.0.0.1:{server.server_port}", spans)
        server.shutdown()
        thread.join()


def test_a_request_and_its_steps_are_traced(
    serve: Serve, collector: Collector, stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    url = serve(otlp_endpoint=collector.url)
    form = {"bitstream": stream, "prompt": (None, "how many cars?")}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "edge-7"}
    assert httpx.post(f"{url}/v1/query", files=form, headers=headers, timeout=300).is_success
    *steps, request = collector.until(kind=2)
    assert request.name == "POST /v1/query"
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    about = {
        attribute.key: attribute.value.string_value or attribute.value.int_value
        for attribute in request.attributes
    }
    assert about == {
        "http.request.method": "POST",
        "http.route": "/v1/query",
        "http.response.status_code": 200,
        "cotam.request_id": "edge-7",
    }
    assert [step.name for step in steps] == ["queue", "decode", "vision", "generate"]
    assert {step.parent_span_id for step in steps} == {request.span_id}
    ends = [request.start_time_unix_nano]
    for step in steps:
        assert step.end_time_unix_nano >= step.start_time_unix_nano
        ends.append(step.end_time_unix_nano)
    assert ends == sorted(ends)
    assert "how many cars" not in str([*steps, request])

    form["bitstream"] = b"no stream"
    assert httpx.post(f"{url}/v1/query", files=form, timeout=300).status_code == 400
    httpx.get(f"{url}/readyz")
    assert httpx.get(f"{url}/nowhere").status_code == 404
    (refused,) = collector.until(kind=2)
    (unknown,) = collector.until(kind=2)
    assert (refused.name, unknown.name) == ("POST /v1/query", "GET")
    assert refused.parent_span_id == b""


def test_without_a_collector_nothing_is_imported() -> None:
    assert Tracing.of(load_settings()) is None


def test_without_the_extra_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UsageError, match="OpenTelemetry is not here"):
        Tracing.of(load_settings(otlp_endpoint="http://127.0.0.1:4318"))
