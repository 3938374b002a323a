"""A server of one's own on loopback, for as long as an example runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

START_SECONDS: Final = 600.0  # old laptops and busy machines take minutes to load PyTorch


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """URL of a server process on a free port, ready; stopped at the end, whatever happens.

    words: further options of `cloud_server serve`.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cloud_server", "serve", "--port", str(port), *words]
    environment = {**os.environ, "COTAM_LOG_LEVEL": "warning", "HF_HUB_OFFLINE": "1"}
    environment.setdefault("COTAM_DEADLINE_S", str(START_SECONDS))
    process = subprocess.Popen(command, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    start = time.monotonic()
    while time.monotonic() - start < START_SECONDS:
        if process.poll() is not None:
            sys.exit(f"the server stopped with exit code {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"the server was not ready after {START_SECONDS:.0f} s")
