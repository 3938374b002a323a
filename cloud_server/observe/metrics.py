"""Prometheus metrics of one service: its own registry, so that two can live in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from cloud_server.inference.work import Work
from shared.schemas import ImageInfo

# From a tiny model on a GPU to a large one on a busy CPU.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES: Final = tuple(128 * 2.0**i for i in range(16))
_BPP: Final = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2, 4)
_BATCH: Final = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256)
_METHODS: Final = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")


class Metrics:
    """What /metrics shows."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "cotam_requests", "Answered requests.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "cotam_request_seconds",
            "Time from request to end of answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "cotam_errors", "Errors by their code.", ("code",), registry=registry
        )
        self._steps = Histogram(
            "cotam_step_seconds",
            "Time of each step; a batch shares vision and generate.",
            ("step",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._bytes = Histogram(
            "cotam_stream_bytes", "Sizes of streams.", buckets=_BYTES, registry=registry
        )
        self._bpp = Histogram(
            "cotam_stream_bpp", "Bits per pixel of streams.", buckets=_BPP, registry=registry
        )
        self._batch = Histogram(
            "cotam_batch_size",
            "Requests in the batch of each request.",
            buckets=_BATCH,
            registry=registry,
        )
        self._tokens = Counter(
            "cotam_tokens", "Tokens of prompts and answers.", ("kind",), registry=registry
        )

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for at each scrape."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is its template, or empty where there is none."""
        # Any word is a method: one that is made up must not make a series of its own.
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def failed(self, code: str) -> None:
        """Count an error by its stable code."""
        self._errors.labels(code).inc()

    def received(self, image: ImageInfo) -> None:
        """Count a stream."""
        self._bytes.observe(image.bytes)
        self._bpp.observe(image.bpp)

    def worked(self, work: Work) -> None:
        """Count the steps of a work that is done."""
        for step, milliseconds in work.times.items():
            self._steps.labels(step).observe(milliseconds / 1000)
        self._batch.observe(work.batch)
        if work.answer is not None:
            self._tokens.labels("prompt").inc(work.answer.prompt_tokens)
            self._tokens.labels("completion").inc(work.answer.completion_tokens)

    def render(self) -> bytes:
        """The exposition, text format 0.0.4."""
        return generate_latest(self._registry)
