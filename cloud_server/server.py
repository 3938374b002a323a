"""uvicorn, with a drain: a SIGTERM first takes the server out of rotation, then ends it."""

from __future__ import annotations

import logging
import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from cloud_server.app import create_app
from cloud_server.guard.http_head import MOST_BYTES, HttpProtocol
from cloud_server.service import Service
from cloud_server.settings import PREFIX, Settings
from shared.errors import UsageError

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell where: the port may have been left to the system."""
        await super().startup(sockets)
        if not self.started:
            return
        url = _address(self.servers[0].sockets[0].getsockname())
        log.info("listening on %s; the model is being loaded", url)
        if self._service.settings.playground:
            log.info("playground: %s/", url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, and end."""
        log.info("stopping")
        await super().shutdown(sockets)
        log.info("stopped")

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave the main loop; uvicorn asks ten times a second."""
        if time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)


def configuration(app: FastAPI) -> uvicorn.Config:
    """How an app of `create_app` is served."""
    settings: Settings = app.state.service.settings
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn would take another parser and another loop where they are installed.
        http=HttpProtocol,
        loop="asyncio",
        ws="none",
        # Longer than the edge keeps a connection, so that none is closed under a question.
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=MOST_BYTES,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )


def run(settings: Settings) -> None:
    """Serve until a signal.

    Raises UsageError for an address that cannot be listened on, and the error that kept the model
    from being loaded.
    """
    _try_address(settings)
    app = create_app(settings)
    service: Service = app.state.service
    if not service.keys and settings.host not in ("127.0.0.1", "::1", "localhost"):
        log.warning("no API keys are set: everyone who reaches %s may ask", settings.host)
    server = DrainingServer(configuration(app), service)
    service.on_failure = lambda: setattr(server, "should_exit", True)
    server.run()
    if service.failure is not None:
        raise service.failure


def _address(name: tuple[str, int]) -> str:
    """The URL of a listening socket; one that listens everywhere is named as it is reached here."""
    host, port = name[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _try_address(settings: Settings) -> None:
    """Listen for a moment: uvicorn would find out late, and say so in a log line alone."""
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        ):
            socket.create_server(address, family=family).close()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise UsageError(
            f"{PREFIX}HOST is {settings.host!r}, {PREFIX}PORT {settings.port}: {reason}"
        ) from error
