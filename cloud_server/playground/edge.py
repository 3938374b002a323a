"""Pictures to streams for the playground: by the edge, in a process of its own.

The service never imports the edge. What a device would do, its command does here: same code, same
bundle, and a reader of pictures that runs apart from the service, its keys and its memory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Final

from shared.bundle import Bundle
from shared.errors import EXIT_CODE, CotamError, DeadlineExceeded, PictureError, PictureUnreadable

MOST_AT_ONCE: Final = 2


class EdgeProcess:
    """Runs `edge_client encode` with one bundle; at most 2 at a time, others wait."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def encode(
        self, picture: bytes, quality: float, guidance: bool, timeout_s: float
    ) -> bytes:
        """The stream of a picture file. Raises PictureUnreadable, DeadlineExceeded, CotamError."""
        command = [sys.executable, "-m", "edge_client", "encode", "-", "-o", "-", "--quiet"]
        command += ["--bundle", str(self._bundle.root), "--quality", f"{quality:g}"]
        if not guidance:
            command.append("--no-guidance")
        end = asyncio.get_running_loop().time() + timeout_s
        try:
            await asyncio.wait_for(self._places.acquire(), timeout_s)
        except asyncio.TimeoutError as error:
            raise _late(timeout_s) from error
        try:
            left = max(0.0, end - asyncio.get_running_loop().time())
            return await asyncio.to_thread(run_edge, command, picture, left)
        finally:
            self._places.release()


def run_edge(command: list[str], picture: bytes, timeout_s: float) -> bytes:
    """What a command writes that is given a picture. Raises as `EdgeProcess.encode`."""
    # The settings of this process are no business of that one; keys least of all.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COTAM_")}
    environment["COTAM_CONFIG"] = os.devnull
    try:
        done = subprocess.run(
            command, input=picture, capture_output=True, timeout=timeout_s, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise _late(timeout_s) from error
    if done.returncode == EXIT_CODE[PictureError]:
        raise PictureUnreadable("the picture cannot be decoded", hint="send an ordinary PNG")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        raise CotamError(f"edge_client ended with {done.returncode}: {said[-1]}")
    return done.stdout


def _late(timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the picture was not coded within {timeout_s:.3g} s",
        hint="ask again when the server is less busy",
    )
