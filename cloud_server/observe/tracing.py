"""OpenTelemetry, where a collector is named: a span for each request, below it one for each step.

    POST /v1/query                         in the trace that the caller's `traceparent` names
    |-- queue
    |-- decode
    |-- vision
    `-- generate

Nothing of OpenTelemetry is imported without a collector. Spans hold routes, sizes, times and ids;
no prompts, answers or pictures.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_server.guard.request_id import CLIENT_GONE, QUIET, request_id_of
from shared.errors import UsageError

if TYPE_CHECKING:
    from cloud_server.inference.work import Work
    from cloud_server.settings import Settings

SERVICE: Final = "cotam"
PATH: Final = "v1/traces"


class Tracing:
    """Makes spans and sends them in the background. `processor` gets them as they end."""

    def __init__(self, processor: Any) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        # Its own provider, not that of the process: two services can live in one.
        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer(SERVICE)

    @classmethod
    def of(cls, settings: Settings) -> Tracing | None:
        """Tracing to the collector of the settings, or None. Raises UsageError."""
        if not settings.otlp_endpoint:
            return None
        if not settings.otlp_endpoint.startswith(("http://", "https://")):
            raise UsageError(
                f"COTAM_OTLP_ENDPOINT is {settings.otlp_endpoint!r}",
                hint="an address such as http://localhost:4318",
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise UsageError(
                "COTAM_OTLP_ENDPOINT is set, but OpenTelemetry is not here",
                hint="pip install 'cotam[otel]'",
            ) from error
        url = f"{settings.otlp_endpoint.rstrip('/')}/{PATH}"
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))

    def worked(self, work: Work) -> None:
        """Spans of the steps of a work that is done, below that of the request of this task."""
        # Steps are timed by a clock without a date.
        shift = time.time_ns() - time.perf_counter_ns()
        for step, (begin, end) in work.spans.items():
            attributes = {"cotam.batch": work.batch} if step != "queue" else {}
            span = self.tracer.start_span(
                step, start_time=shift + round(1e9 * begin), attributes=attributes
            )
            span.end(shift + round(1e9 * end))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class Traces:
    """Middleware: a span around each request but the probes'."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracing = tracing
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, StatusCode

        status = CLIENT_GONE

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracing.tracer.start_as_current_span(
            scope["method"],
            self._propagator.extract(dict(Headers(scope=scope))),
            SpanKind.SERVER,
            {"http.request.method": scope["method"], "cotam.request_id": request_id_of(scope)},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                await self._app(scope, receive, noted)
            finally:
                if route := getattr(scope.get("route"), "path", ""):
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(StatusCode.ERROR)
