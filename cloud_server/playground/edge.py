"""Pictures to streams for the playground: by the edge, in a process of its own.

The service never imports the edge. What a device would do, its command does here: same code, same
bundle, and a reader of pictures that runs apart from the service, its keys and its memory.
"""

from __future__ import annotations

import sys
from typing import Final

from cloud_server.guard.processes import Processes
from shared.bundle import Bundle

_ENCODE: Final = (sys.executable, "-m", "edge_client", "encode", "-", "-o", "-", "--quiet")


class EdgeProcess:
    """Runs `edge_client encode` with one bundle."""

    def __init__(self, bundle: Bundle, processes: Processes) -> None:
        self._bundle = bundle
        self._processes = processes

    async def encode(
        self, picture: bytes, quality: float, guidance: bool, timeout_s: float
    ) -> bytes:
        """The stream of a picture file. Raises PictureUnreadable, DeadlineExceeded, CotamError."""
        command = [*_ENCODE, "--bundle", str(self._bundle.root), "--quality", f"{quality:g}"]
        return await self._run(command, picture, guidance, timeout_s)

    async def enhance(
        self, picture: bytes, first: float, cells: str, quality: float, guidance: bool, left: float
    ) -> bytes:
        """A stream of quality `first` and the enhancement of some of its cells, base64 as a server
        names them. Raises as `encode`."""
        command = [*_ENCODE, "--bundle", str(self._bundle.root), f"--cells={cells}"]
        command += ["--layers", f"{first:g},{quality:g}"]
        return await self._run(command, picture, guidance, left)

    async def _run(
        self, command: list[str], picture: bytes, guidance: bool, timeout_s: float
    ) -> bytes:
        if not guidance:
            command.append("--no-guidance")
        return await self._processes.run(command, picture, timeout_s)
