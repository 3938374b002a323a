"""Bytes as they travel: a relay on loopback that counts what passes through its sockets, and takes
as long as a slow line would.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from evaluation.machine.line import Line

MOST_CONNECTIONS: Final = 64
_BLOCK: Final = 1 << 16


@dataclass
class Relay:
    """Where it listens, and what has passed so far: connections, bytes up and bytes down.

    lines: those that "up" and "down" pass; what has none passes at once.
    """

    url: str
    connections: int = 0
    up: int = 0
    down: int = 0
    lines: Mapping[str, Line] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, up: int = 0, down: int = 0, connections: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.up += up
            self.down += down
            self.connections += connections


@contextmanager
def counting_relay(url: str, **lines: Line) -> Iterator[Relay]:
    """A relay to the server at `url`; leaving the block waits until its clients have gone.

    lines: `up` and `down`, as of `Relay`.
    """
    parts = urlsplit(url)
    target = (parts.hostname or "", parts.port or 80)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(f"http://127.0.0.1:{listener.getsockname()[1]}", lines=lines)
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


def _deliver(sink: socket.socket, block: bytes, due: float) -> None:
    time.sleep(max(0.0, due - time.monotonic()))
    with suppress(OSError):  # nobody is there any more
        sink.sendall(block)


def _pass(source: socket.socket, sink: socket.socket, relay: Relay, way: str) -> None:
    line = relay.lines.get(way)
    # Leaving the executor waits for what is still on its way.
    with ThreadPoolExecutor(1) as on_its_way, suppress(OSError):  # one of the two went away
        while block := source.recv(_BLOCK):
            relay.count(**{way: len(block)})
            if line is None:
                sink.sendall(block)
            else:
                due = line.arrival(len(block), time.monotonic())
                on_its_way.submit(_deliver, sink, block, due)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
