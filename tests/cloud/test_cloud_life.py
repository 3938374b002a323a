"""Metrics, logs, and the end: what was accepted before a SIGTERM is answered."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud_server.guard.request_id import current_request_id
from cloud_server.observe.logs import JsonLines, TextLines, form_for

Serve = Callable[..., str]


def test_metrics_count_what_happens(serve: Serve, stream: bytes) -> None:
    url = serve()
    httpx.post(f"{url}/v1/query", files={"bitstream": stream, "prompt": (None, "hm?")}, timeout=300)
    httpx.post(f"{url}/v1/query", files={"bitstream": b"x", "prompt": (None, "hm?")})
    httpx.get(f"{url}/nowhere")
    text = httpx.get(f"{url}/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["cotam_requests_total", "/v1/query", "200", "POST"] == 1
    assert samples["cotam_requests_total", "/v1/query", "400", "POST"] == 1
    assert samples["cotam_requests_total", "", "404", "GET"] == 1
    assert samples["cotam_errors_total", "stream_foreign"] == 1
    assert samples["cotam_stream_bytes_sum",] == len(stream)
    assert samples["cotam_batch_size_count",] == 1
    assert samples["cotam_step_seconds_count", "decode"] == 1
    assert samples["cotam_tokens_total", "prompt"] > 256
    assert samples["cotam_requests_inside",] == 0
    assert samples["cotam_ready",] == 1


def test_log_lines_are_json_with_the_request_id() -> None:
    token = current_request_id.set("abc")
    try:
        record = logging.LogRecord("n", logging.INFO, "f", 1, "a %s", ("line\nmore",), None)
        record.fields = {"status": 200}
        line = JsonLines().format(record)
    finally:
        current_request_id.reset(token)
    logged = json.loads(line)
    assert "\n" not in line
    assert (logged["message"], logged["request_id"], logged["status"]) == (
        "a line\nmore",
        "abc",
        200,
    )


def test_log_lines_for_people_are_short() -> None:
    fields = {"method": "POST", "route": "/v1/query", "status": 200, "ms": 129.6}
    for level, message, extra, wanted in (
        (logging.INFO, "request", fields, "POST /v1/query 200 in 130 ms"),
        (logging.INFO, "ready", {}, "ready"),
        (logging.WARNING, "bad head", {"status": 400}, "warning: bad head status=400"),
    ):
        record = logging.LogRecord("n", level, "f", 1, message, (), None)
        record.fields = extra
        time, line = TextLines().format(record).split(" ", 1)
        assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
        assert line == wanted


def test_the_form_of_the_log_is_that_of_its_place_unless_it_is_set() -> None:
    assert [form_for("auto", terminal) for terminal in (True, False)] == ["text", "json"]
    for form in ("json", "text"):
        assert [form_for(form, terminal) for terminal in (True, False)] == [form, form]


def test_a_terminal_is_told_where_the_playground_is() -> None:
    our_end, server_end = pty.openpty()
    command = [sys.executable, "-m", "cloud_server", "serve", "--port", "0", "--threads", "1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with (
        subprocess.Popen(command, stderr=server_end, env=environment) as process,
        os.fdopen(our_end) as terminal,
    ):
        os.close(server_end)
        lines = []
        for line in terminal:
            lines.append(line[len("12:34:56 ") :].strip())
            if lines[-1].startswith("playground: "):
                page = httpx.get(lines[-1].removeprefix("playground: "))
                process.send_signal(signal.SIGTERM)
            if lines[-1] == "stopped":
                break
        assert process.wait(timeout=300) == 0
    url = str(page.url).rstrip("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert lines[:2] == [f"listening on {url}; the model is being loaded", f"playground: {url}/"]
    assert lines[2].startswith("GET / 200 in ")
    assert [line for line in lines[3:] if not line.startswith("ready: ")] == ["stopping", "stopped"]


def test_an_accepted_request_outlives_a_sigterm(talkative: Path, stream: bytes) -> None:
    with _process("--mllm", str(talkative)) as (process, log):
        url = _ready(log)
        form = {"bitstream": stream, "stream": (None, "true")}
        form |= {"prompt": (None, "hm?"), "max_new_tokens": (None, "40")}
        undisturbed = httpx.post(f"{url}/v1/query", files={**form, "stream": (None, "false")})
        whole = undisturbed.json()
        assert whole["usage"]["completion_tokens"] > 20
        with httpx.stream("POST", f"{url}/v1/query", files=form, timeout=300) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: text"
            process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert "event: done" in rest
        answer = json.loads(rest[rest.index("event: done") + 1].removeprefix("data: "))
        assert (answer["answer"], answer["usage"]) == (whole["answer"], whole["usage"])
        assert process.wait(timeout=300) == 0
        assert "hm?" not in "".join(log)


def test_a_model_that_cannot_be_loaded_ends_the_process(tmp_path: Path) -> None:
    with _process("--mllm", str(tmp_path)) as (process, log):
        lines = list(log)
        assert process.wait(timeout=300) == 2
    assert lines[-1].startswith("cloud_server: there is no language model to load at")


def test_a_gpu_that_is_not_there_is_one_line() -> None:
    with _process("--device", "cuda", CUDA_VISIBLE_DEVICES="") as (process, log):
        lines = list(log)
        assert process.wait(timeout=300) == 2
    assert lines[-1].startswith("cloud_server: the device is 'cuda', and torch finds no GPU here")
    assert "Traceback" not in "".join(lines)


def test_what_the_probes_say_while_a_model_is_loaded(stream: bytes) -> None:
    # An upstream that takes the question for its models and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mllm = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with _process("--mllm", mllm) as (process, log):
            url = _listening(log)
            assert httpx.get(f"{url}/livez").json() == {"status": "starting"}
            early = httpx.get(f"{url}/readyz")
            assert (early.status_code, early.json()["code"]) == (503, "not_ready")
            form = {"bitstream": stream, "prompt": (None, "hm?")}
            early = httpx.post(f"{url}/v1/query", files=form)
            assert (early.status_code, early.json()["code"]) == (503, "not_ready")
            assert early.headers["retry-after"] == "1"
            silent.close()
            lines = list(log)
            assert process.wait(timeout=300) == 1
    assert lines[-1].startswith(f"cloud_server: {mllm}/ names no model: ")


def test_a_second_signal_ends_the_drain(stream: bytes) -> None:
    with _process(COTAM_DRAIN_DELAY_S="600") as (process, log):
        url = _ready(log)
        process.send_signal(signal.SIGTERM)
        late = httpx.get(f"{url}/readyz")
        assert (late.status_code, late.json()["code"]) == (503, "not_ready")
        assert httpx.get(f"{url}/livez").json() == {"status": "draining"}
        form = {"bitstream": stream, "prompt": (None, "hm?")}
        headers = {"x-request-id": "edge-7.a"}
        taken = httpx.post(f"{url}/v1/query", files=form, headers=headers, timeout=300)
        assert (taken.status_code, taken.json()["id"]) == (200, "edge-7.a")
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in log]
        assert process.wait(timeout=300) == 0
    (line,) = (line for line in lines if line.get("request_id") == "edge-7.a")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/query", 200)
    assert line["level"] == "info"


@contextmanager
def _process(
    *arguments: str, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    command = [sys.executable, "-m", "cloud_server", "serve", "--port", "0", "--threads", "1"]
    with subprocess.Popen(
        [*command, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **settings},
    ) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            process.kill()


def _listening(log: Iterator[str]) -> str:
    """Reads the log until the server listens; returns its URL."""
    for line in log:
        message = json.loads(line)["message"]
        if message.startswith("Uvicorn running on "):
            return message.split()[3]
    pytest.fail("the server ended before it listened")


def _ready(log: Iterator[str]) -> str:
    """Reads the log until the server is ready; returns its URL."""
    url = _listening(log)
    for line in log:
        if json.loads(line)["message"].startswith("ready:"):
            return url
    pytest.fail("the server ended before it was ready")
