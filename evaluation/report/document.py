"""Pages of docs/results: a command rewrites the section between its own two markers, nothing else.

<!-- codec:begin -->
    what the command wrote
<!-- codec:end -->
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.errors import UsageError
from shared.files import write_atomically

_LEFT_OUT = ("--report", "--results")


def write_section(path: Path, name: str, body: str) -> None:
    """Replace the section `name` of a Markdown file, or append it where there is none.

    The file is whole at any time; commands that run side by side wait for one another. Raises
    UsageError where one of the two markers is missing, doubled or before the other.
    """
    with _alone_in(path.parent):
        _replace_section(path, name, body)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's advisory lock."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace_section(path: Path, name: str, body: str) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n\n{body.strip()}\n\n{end}"
    counts = text.count(begin), text.count(end)
    if counts == (0, 0):
        _write(path, f"{text.rstrip()}\n\n{section}\n".lstrip())
        return
    start, stop = text.find(begin), text.find(end)
    if counts != (1, 1) or stop < start:
        raise UsageError(
            f"{path} has no well-formed section {name}", hint=f"it needs one {begin} and one {end}"
        )
    _write(path, text[:start] + section + text[stop + len(end) :])


def _write(path: Path, text: str) -> None:
    # Names of files may hold bytes that are no characters.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def command_line(words: Sequence[str]) -> str:
    """The command as a reader would type it: of paths that exist the last component alone."""
    shown: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.split("=")[0] in _LEFT_OUT:
            skip = "=" not in word
        else:
            option, equals, value = word.rpartition("=")
            short = Path(value).name if "/" in value and Path(value).exists() else value
            shown.append(f"{option}{equals}{short}")
    return f"`python -m evaluation {shlex.join(shown)}`"


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"
