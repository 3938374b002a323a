"""What reads strangers' pictures runs in a process of its own, apart from keys and memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import Final

from shared.errors import EXIT_CODE, CotamError, DeadlineExceeded, PictureError, PictureUnreadable

MOST_AT_ONCE: Final = 2


class Processes:
    """Runs commands that are given a picture; at most 2 at a time, others wait."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def run(self, command: list[str], picture: bytes, timeout_s: float) -> bytes:
        """What the command writes. Raises PictureUnreadable, DeadlineExceeded, CotamError."""
        end = asyncio.get_running_loop().time() + timeout_s
        try:
            await asyncio.wait_for(self._places.acquire(), timeout_s)
        except asyncio.TimeoutError as error:
            raise _late(timeout_s) from error
        try:
            left = max(0.0, end - asyncio.get_running_loop().time())
            return await asyncio.to_thread(run, command, picture, left)
        finally:
            self._places.release()


def run(command: list[str], picture: bytes, timeout_s: float) -> bytes:
    """What a command writes that is given a picture. Raises as `Processes.run`."""
    # The settings of this process are no business of that one; keys least of all.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COTAM_")}
    environment["COTAM_CONFIG"] = os.devnull
    try:
        completed = subprocess.run(
            command, input=picture, capture_output=True, timeout=timeout_s, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise _late(timeout_s) from error
    if completed.returncode == EXIT_CODE[PictureError]:
        raise PictureUnreadable("the picture cannot be decoded", hint="send an ordinary PNG")
    if completed.returncode:
        said = completed.stderr.decode(errors="replace").strip().splitlines() or [""]
        raise CotamError(f"{command[2]} ended with {completed.returncode}: {said[-1]}")
    return completed.stdout


def _late(timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the picture was not read within {timeout_s:.3g} s",
        hint="ask again when the server is less busy",
    )
