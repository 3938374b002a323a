"""The standard streams, in whatever state they were handed over: closed, full, or ended early."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shared.errors import CotamError

_STDOUT: Final = 1
_STDERR: Final = 2


def prepare() -> None:
    """Make the three streams usable, each only in its direction.

    One that was closed would leave its number to the next file that is opened, and whatever is
    printed would go into that. It gets the null device instead: standard input is empty then, and
    what is written to standard output fails, for it is lost.
    """
    for number, flags in ((0, os.O_RDONLY), (_STDOUT, os.O_RDONLY), (_STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free
    # Python has left out those that were closed, whatever its types say.
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(_STDOUT, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(_STDERR, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold bytes that are no text here: shown escaped, never a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_data(line: str) -> None:
    """A line to standard output. Raises CotamError; BrokenPipeError where its reader has enough."""
    with _output():
        print(line, flush=True)


def write_bytes(data: bytes) -> None:
    """Raw data to standard output. Raises as `write_data`."""
    with _output():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def write_talk(line: str) -> None:
    """A line to standard error. Where that is impossible nobody listens, and work goes on."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _silence(_STDERR)


def silence_output() -> None:
    """Let what is left in the buffer of standard output go nowhere: Python would fail on it."""
    _silence(_STDOUT)


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        silence_output()
        raise
    except OSError as error:
        silence_output()
        raise CotamError(f"standard output cannot be written: {error.strerror}") from error


def _silence(number: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
