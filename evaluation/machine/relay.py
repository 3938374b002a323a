"""Bytes as they travel: a relay on loopback that counts what passes through its sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

MOST_CONNECTIONS: Final = 64
_BLOCK: Final = 1 << 16


@dataclass
class Relay:
    """Where it listens, and what has passed so far: connections, bytes up and bytes down."""

    url: str
    connections: int = 0
    up: int = 0
    down: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, up: int = 0, down: int = 0, connections: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.up += up
            self.down += down
            self.connections += connections


@contextmanager
def counting_relay(url: str) -> Iterator[Relay]:
    """A relay to the server at `url`; leaving the block waits until its clients have gone."""
    parts = urlsplit(url)
    target = (parts.hostname or "", parts.port or 80)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=_accept, args=(listener, target, relay))
        thread.start()
        try:
            yield relay
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, target: tuple[str, int], relay: Relay) -> None:
    with ThreadPoolExecutor(MOST_CONNECTIONS) as pool:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:  # the block has ended
                return
            relay.count(connections=1)
            pool.submit(_connect, client, target, relay)


def _connect(client: socket.socket, target: tuple[str, int], relay: Relay) -> None:
    with client, socket.create_connection(target) as server:
        down = threading.Thread(target=_pass, args=(server, client, relay, "down"))
        down.start()
        _pass(client, server, relay, "up")
        down.join()


def _pass(source: socket.socket, sink: socket.socket, relay: Relay, way: str) -> None:
    with suppress(OSError):  # one of the two went away
        while block := source.recv(_BLOCK):
            relay.count(**{way: len(block)})
            sink.sendall(block)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
