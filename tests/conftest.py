"""Fixtures of every folder of tests: the embedded bundle, and a live server on loopback."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from shared.bundle import Bundle, embedded
from tests.continuing import write_continuing

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

Serve = Callable[..., str]


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The bundle that ships in the package."""
    return embedded()


@pytest.fixture(scope="session")
def continuing_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same, but for a codec whose streams can be continued, by random layers."""
    return write_continuing(bundle, tmp_path_factory.mktemp("bundles") / "continuing")


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Starts a real server with the given settings and returns its URL once it is ready."""
    with ExitStack() as running:
        yield lambda **flags: running.enter_context(_serving(**flags))


@pytest.fixture(scope="session")
def server_url(serve: Serve) -> str:
    """A ready server with the embedded bundle, without keys."""
    return serve()


@contextmanager
def _serving(**flags: object) -> Iterator[str]:
    # Imported here so that tests of the edge alone run where no torch is installed.
    import uvicorn

    from cloud_server.app import create_app
    from cloud_server.server import configuration
    from cloud_server.settings import load_settings

    app = create_app(load_settings(**{"threads": 1, **flags}))
    # Listening before the server runs: the first request waits in the backlog, not in a loop.
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(configuration(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        httpx.get(f"{url}/livez", timeout=300).raise_for_status()
        app.state.service.wait()
        httpx.get(f"{url}/readyz", timeout=300).raise_for_status()
        yield url
    finally:
        server.should_exit = True
        thread.join()
