"""A `cloud_server serve` of our own: started, watched and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from shared.errors import UsageError

LAST_LINES: Final = 5
START_S: Final = 600.0
ROOT: Final = Path(__file__).parents[2]


class ServerProcess:
    """A server process on a free port of loopback, ready inside the `with` block.

    settings: fields of the service's settings, given by the environment. environment: what else is
    set there.
    """

    def __init__(
        self,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        command = [sys.executable, "-m", "cloud_server", "serve", "--host", "127.0.0.1"]
        # Settings of the shell would change what is measured.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("COTAM_")}
        inherited |= environment or {}
        inherited |= {f"COTAM_{name.upper()}": str(value) for name, value in settings.items()}
        self.url = ""
        self._log: list[str] = []
        self._known = threading.Event()
        self._process = subprocess.Popen(
            [*command, "--port", "0", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=inherited,
            cwd=ROOT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> ServerProcess:
        self._known.wait(START_S)
        if not self.url:
            self._process.kill()
            self.wait()
            raise UsageError(f"the server did not start: {' '.join(self._log[-LAST_LINES:])}")
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self.wait()

    def memory(self) -> float:
        """Megabytes that the process holds at this moment. Linux only."""
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        line = next(entry for entry in status if entry.startswith("VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6

    def terminate(self) -> None:
        """Send SIGTERM; the server drains."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code, once the process has ended."""
        code = self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def _read(self) -> None:
        """Read the log to its end, so that its pipe never fills."""
        address = ""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log = [*self._log[-LAST_LINES:], line.strip()]
            message = json.loads(line)["message"] if line.startswith("{") else ""
            if message.startswith("Uvicorn running on "):
                address = message.split()[3]
            if message.startswith("ready:"):
                self.url = address
                self._known.set()
        self._known.set()
