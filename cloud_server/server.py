"""uvicorn, with a drain: a SIGTERM first takes the server out of rotation, then ends it."""

from __future__ import annotations

import logging
import time
from types import FrameType
from typing import Final

import uvicorn

from cloud_server.app import create_app
from cloud_server.service import Service
from cloud_server.settings import Settings

MOST_HEAD_BYTES: Final = 16 << 10
"""Of a request's line and headers together; more is answered with 400 before they are parsed."""

log = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """On a signal `/readyz` says 503 at once; `drain_delay_s` later no connection is taken.

    What was accepted is answered, within `drain_s`. A second signal ends everything.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._exit_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to drain. The signal is not raised again afterwards: a drained server exits 0."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        self._exit_at = time.monotonic() + self._service.settings.drain_delay_s

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop; uvicorn asks ten times a second."""
        if time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)


def run(settings: Settings) -> None:
    """Serve until a signal. Raises the error that kept the model from being loaded."""
    app = create_app(settings)
    service: Service = app.state.service
    if not service.keys and settings.host not in ("127.0.0.1", "::1", "localhost"):
        log.warning("no API keys are set: everyone who reaches %s may ask", settings.host)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # The other parser that uvicorn would take, where it is installed, knows no such bound;
        # the other loop is as little tested.
        http="h11",
        loop="asyncio",
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    server = DrainingServer(config, service)
    service.on_failure = lambda: setattr(server, "should_exit", True)
    server.run()
    if service.failure is not None:
        raise service.failure
