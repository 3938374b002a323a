"""Metrics, logs, and the end: what was accepted before a SIGTERM is answered."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud_server.logs import JsonLines
from cloud_server.request_id import current_request_id

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
    found = json.loads(line)
    assert "\n" not in line
    assert (found["message"], found["request_id"], found["status"]) == ("a line\nmore", "abc", 200)


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


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    command = [sys.executable, "-m", "cloud_server", "serve", "--port", "0", "--threads", "1"]
    with subprocess.Popen(
        [*command, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    ) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            process.kill()


def _ready(log: Iterator[str]) -> str:
    """Reads the log until the server is ready; returns its URL."""
    url = ""
    for line in log:
        message = json.loads(line)["message"]
        if message.startswith("Uvicorn running on "):
            url = message.split()[3]
        if message.startswith("ready:"):
            return url
    pytest.fail("the server ended before it was ready")
