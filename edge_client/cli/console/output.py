"""How commands speak: data on standard output, talk on standard error, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from edge_client.cli.console import streams
from shared.errors import CotamError, exit_code

if TYPE_CHECKING:
    from rich.progress import Progress


MOST_CHARACTERS: Final = 1_000  # of an error: what was given may be a novel


class Output:
    """The two streams of a command, and between them a progress bar where somebody watches."""

    def __init__(self, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self._bar: Progress | None = None
        self._task: Any = None

    def data(self, line: str) -> None:
        """A line of data. Raises as `streams.write_data`."""
        if not self._above_bar(line, sys.stdout):
            streams.write_data(line)

    def record(self, value: dict[str, Any]) -> None:
        """One JSON object on one line of data."""
        self.data(json.dumps(value, ensure_ascii=False))

    def say(self, line: str) -> None:
        """A line of talk."""
        if not self.quiet and not self._above_bar(line, sys.stderr):
            streams.write_talk(line)

    def complain(self, error: CotamError, about: str = "") -> None:
        """An error in one line."""
        line = error_line(error, about)
        if not self._above_bar(line, sys.stderr):
            streams.write_talk(line)

    @contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """A bar over `total` jobs, where there are several and standard error is a terminal."""
        if self.quiet or total < 2 or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as bar:
            self._bar, self._task = bar, bar.add_task("", total=total)
            try:
                yield
            finally:
                self._bar = None

    def advance(self) -> None:
        """One job is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def _above_bar(self, line: str, file: Any) -> bool:
        """Whether the line was printed above a bar, which would otherwise be overwritten."""
        if self._bar is None or not file.isatty():
            return False
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        return True


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Whatever goes wrong in the block ends the process with one line and its exit code."""
    try:
        yield
    except CotamError as error:
        _end(error_line(error), exit_code(error))
    except BrokenPipeError:  # who reads our output has enough
        streams.silence_output()
        sys.exit(1)
    except MemoryError:
        _end("error: there is not enough memory (lower --resolution or --concurrency)", 1)
    except OSError as error:
        if error.filename is None:  # files have names, so it was one of the standard streams
            streams.silence_output()
        named = f"{error.filename}: " if error.filename else "the output cannot be written: "
        _end(f"error: {named}{error.strerror}", 1)


def _end(line: str, code: int) -> NoReturn:
    streams.write_talk(line)
    sys.exit(code)


def error_line(error: CotamError, about: str = "") -> str:
    """An error as one line, with the request id where a server reported it."""
    text = " ".join(str(error).split())
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}..."
    if about and len(about) < MOST_CHARACTERS and about not in text:
        text = f"{about}: {text}"
    if error.request_id:
        text += f" [request {error.request_id}]"
    return f"error: {text}"


def error_record(error: CotamError) -> dict[str, Any]:
    """An error for `--json`."""
    record: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.hint:
        record["hint"] = error.hint
    if error.request_id:
        record["request_id"] = error.request_id
    return record
