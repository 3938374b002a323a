"""Pictures that appear in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_client.pictures.inputs import pictures_in
from shared.errors import UsageError

Seen = dict[Path, tuple[int, int]]


def new_pictures(
    folder: Path, pause: Callable[[], None] = lambda: time.sleep(1.0)
) -> Iterator[Path]:
    """Pictures that come into a folder after this call began, each once, oldest name first.

    The folder is read again after each `pause`: that works on every file system, network shares
    among them. A picture counts as there when its size and time were the same twice, so that one
    that is still being written is not taken. Never ends. Raises UsageError where there is no such
    folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder to watch")
    known = set(_state(folder))
    growing: Seen = {}
    while True:
        pause()
        state = _state(folder)
        for path in sorted(state):
            if path in known:
                continue
            if growing.get(path) == state[path]:
                known.add(path)
                yield path
        growing = {path: stamp for path, stamp in state.items() if path not in known}
        known &= state.keys()  # one that goes and comes back is new


def _state(folder: Path) -> Seen:
    state: Seen = {}
    for path in pictures_in(folder):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        state[path] = (stat.st_size, stat.st_mtime_ns)
    return state
