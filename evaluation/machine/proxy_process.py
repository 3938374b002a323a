"""An `edge_client proxy` of our own before a server: started, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Final

import httpx

from shared.errors import UsageError

START_S: Final = 120.0


class ProxyProcess:
    """A proxy on a free port of loopback that listens inside the `with` block. url: ends in /v1."""

    def __init__(self, server: str) -> None:
        command = [sys.executable, "-m", "edge_client", "proxy", "--server", server]
        command += ["--listen", "127.0.0.1:0", "--bundle", "tiny"]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("COTAM_")}
        self.url = ""
        self._last = ""
        self._known = threading.Event()
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=inherited)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def total(self, name: str) -> int:
        """One of the proxy's own counts, `cotam_proxy_NAME_total`."""
        text = httpx.get(self.url.removesuffix("/v1") + "/metrics").raise_for_status().text
        (line,) = [row for row in text.splitlines() if row.startswith(f"cotam_proxy_{name}_total ")]
        return int(line.split()[1])

    def __enter__(self) -> ProxyProcess:
        self._known.wait(START_S)
        if not self.url:
            self.__exit__()
            raise UsageError(f"the proxy did not start: {self._last}")
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        """Read the log to its end, so that its pipe never fills."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last = line.strip()
            if line.startswith("listening on "):
                self.url = line.split()[2].rstrip(";")
                self._known.set()
        self._known.set()
