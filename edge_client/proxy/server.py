"""uvicorn for the proxy: one address, until a signal."""

from __future__ import annotations

import socket
import urllib.parse
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette

from shared.errors import UsageError

DRAIN_S: Final = 10
"""How long answers that are under way may take after a signal."""


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; a second signal ends at once. Not raised again: what was told to end exits 0."""
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(address: str) -> socket.socket:
    """A socket that listens on HOST:PORT or [HOST]:PORT. Raises UsageError."""
    try:
        parts = urllib.parse.urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
        if host is None or port is None or parts.netloc != address:
            raise ValueError("it is not HOST:PORT")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"--listen is {address!r}: {reason}", hint="such as 127.0.0.1:9000"
        ) from error


def configuration(app: Starlette) -> uvicorn.Config:
    """How the app is served."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn would take another parser and another loop where they are installed.
        http="h11",
        loop="asyncio",
        ws="none",
        timeout_graceful_shutdown=DRAIN_S,
    )


def run(app: Starlette, listener: socket.socket) -> None:
    """Serve until a signal."""
    _Server(configuration(app)).run([listener])
