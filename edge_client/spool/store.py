"""The spool: coded questions that wait for their server, on disk.

Files, not a database: a question is written once and renamed once, which is all that the file
system must do atomically; a damaged block costs one question instead of the spool; what waits can
be listed, copied and read with ordinary tools; and there is no journal to keep. A folder:

    00001764012345678901-<key>.0.job   order, idempotency key, failed tries; sorted by name
    poison/<same name>                 refused for good, too old or unreadable
    poison/<same name>.txt             why
    lock                               held by the process that sends

A job is one line of JSON and the stream, or several as `shared.query_body` joins them. A job is
removed after its answer was handed over, so a process that dies in between sends it again, under
the same key, and the server answers it once.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Concatenate, Final, ParamSpec, TypeVar

from edge_client.server.query import AskBack, Query
from shared.errors import CotamError, StreamError, UsageError
from shared.files import sync_folder, write_atomically
from shared.query_body import join_streams, split_streams

MAX_BYTES: Final = 256 << 20
MAX_AGE: Final = 7 * 24 * 3600.0
MAX_TRIES: Final = 5
MAX_HEADER_BYTES: Final = 1 << 17
_SUFFIX = ".job"
_DAMAGED: Final = (OSError, ValueError, KeyError, TypeError, AttributeError)

P = ParamSpec("P")
R = TypeVar("R")


class SpoolUnusable(UsageError):
    """A folder that the system does not let us read or write."""

    code = "spool_unusable"


class JobUnreadable(CotamError):
    """A file of the spool that holds no question: damaged, or of a later version."""

    code = "job_unreadable"


@dataclass(frozen=True)
class Entry:
    """A job that waits. order: larger is later. tries: failures with a server that was there."""

    order: int
    key: str
    tries: int
    size: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.order:020}-{self.key}.{self.tries}{_SUFFIX}"


@dataclass(frozen=True)
class Job:
    """A query with where it came from: its picture's name, and when (seconds since 1970).

    provisional: as of `Spool.add`.
    """

    query: Query
    picture: str
    created: float
    provisional: str = ""


def _usable(method: Callable[Concatenate[Spool, P], R]) -> Callable[Concatenate[Spool, P], R]:
    """The method, with SpoolUnusable where the system refuses something."""

    @functools.wraps(method)
    def checked(spool: Spool, /, *arguments: P.args, **options: P.kwargs) -> R:
        try:
            return method(spool, *arguments, **options)
        except OSError as error:
            raise SpoolUnusable(
                f"the spool {spool.root} cannot be used: {error.strerror}",
                hint="COTAM_SPOOL names another folder",
            ) from error

    return checked


class Spool:
    """A folder of jobs, made when the first one is added. max_bytes, max_age (s): its bounds.

    Every method raises SpoolUnusable where the folder cannot be read or written.
    """

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.max_age = max_age

    @classmethod
    def temporary(cls) -> Spool:
        """One in a new folder, for where a spool cannot be used. Raises SpoolUnusable."""
        try:
            return cls(Path(tempfile.mkdtemp(prefix="cotam-spool-")))
        except OSError as error:
            raise SpoolUnusable(f"there is no place for a spool: {error.strerror}") from error

    @_usable
    def add(
        self, query: Query, picture: str, now: float | None = None, provisional: str = ""
    ) -> Entry:
        """Keep a question behind all others. Raises UsageError where the spool is full.

        provisional: the answer so far, of one whose enhancement could not be sent.
        """
        now = time.time() if now is None else now
        header = {
            "version": 1,
            "key": query.key,
            "prompt": query.prompt,
            "max_new_tokens": query.max_new_tokens,
            "picture": picture,
            "created": now,
        }
        if query.ask_back is not None:
            header["ask_back"] = vars(query.ask_back)
        if query.enhancement:
            header["enhancement"] = base64.b64encode(query.enhancement).decode()
        if provisional:
            header["provisional"] = provisional
        data = json.dumps(header).encode() + b"\n" + join_streams(query.streams)
        waiting = self.entries()
        used = sum(entry.size for entry in waiting)
        if used + len(data) > self.max_bytes:
            raise UsageError(
                f"the spool is full: {len(waiting)} questions in {used} bytes, "
                f"of at most {self.max_bytes}",
                hint="send them with: edge_client spool flush",
            )
        # Not the clock alone: small machines set theirs back, and the order must hold.
        order = max(time.time_ns(), waiting[-1].order + 1 if waiting else 0)
        entry = Entry(order, query.key, 0, len(data))
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.root / entry.name, data)
        sync_folder(self.root)
        return entry

    @_usable
    def entries(self) -> list[Entry]:
        """What waits, first come first."""
        return _entries(self.root)

    @_usable
    def poisoned(self) -> list[Entry]:
        """What was given up."""
        return _entries(self.root / "poison")

    def read(self, entry: Entry) -> Job:
        """The job of an entry. Raises JobUnreadable."""
        try:
            with (self.root / entry.name).open("rb") as file:
                header = json.loads(file.readline(MAX_HEADER_BYTES))
                stream, *others = split_streams(file.read())
            asked = header["prompt"], header["max_new_tokens"], header["key"]
            wish = header.get("ask_back")
            query = Query(
                stream,
                *asked,
                tuple(others),
                ask_back=None if wish is None else AskBack(**wish),
                enhancement=base64.b64decode(header.get("enhancement", "")),
            )
            created, provisional = float(header["created"]), str(header.get("provisional", ""))
            return Job(query, str(header["picture"]), created, provisional)
        except (*_DAMAGED, StreamError, UsageError) as error:
            raise JobUnreadable(f"the job {entry.name} cannot be read: {error}") from error

    @_usable
    def remove(self, entry: Entry) -> None:
        """Remove a job whose answer was handed over."""
        (self.root / entry.name).unlink(missing_ok=True)
        sync_folder(self.root)

    @_usable
    def failed(self, entry: Entry, error: CotamError) -> bool:
        """Count a failure that may lie with the job; whether it was given up (`MAX_TRIES`)."""
        again = Entry(entry.order, entry.key, entry.tries + 1, entry.size)
        if again.tries >= MAX_TRIES:
            self.give_up(entry, error)
            return True
        (self.root / entry.name).rename(self.root / again.name)
        return False

    @_usable
    def give_up(self, entry: Entry, error: CotamError) -> None:
        """Move a job into the poison folder, with the reason beside it."""
        poison = self.root / "poison"
        poison.mkdir(exist_ok=True)
        write_atomically(poison / f"{entry.name}.txt", f"{error.code}: {error}\n".encode())
        with suppress(FileNotFoundError):
            (self.root / entry.name).rename(poison / entry.name)
        sync_folder(self.root)
        self._bound_poison()

    def is_too_old(self, job: Job, now: float | None = None) -> bool:
        """Whether nobody waits for its answer any more."""
        return (time.time() if now is None else now) - job.created > self.max_age

    @_usable
    def drop(self, poison: bool = False) -> int:
        """Remove all that waits, or all that was given up; how many."""
        folder = self.root / "poison" if poison else self.root
        dropped = _entries(folder)
        for entry in dropped:
            _remove(folder, entry)
        return len(dropped)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by whoever sends, so that nothing is sent twice and order is kept.

        Raises UsageError where another process holds it. It falls with its process.
        """
        with self._lock_file() as file:
            try:
                _lock(file)
            except OSError as error:
                raise UsageError("another process is sending this spool's questions") from error
            self._sweep()
            yield

    @_usable
    def _lock_file(self) -> IO[bytes]:
        self.root.mkdir(parents=True, exist_ok=True)
        return (self.root / "lock").open("ab")

    @_usable
    def _sweep(self) -> None:
        """Remove what killed processes left half-written; an hour is longer than any write."""
        for file in self.root.glob(f".*{_SUFFIX}.*"):
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > 3600:
                    file.unlink()

    def _bound_poison(self) -> None:
        folder = self.root / "poison"
        given_up = _entries(folder)
        used = sum(entry.size for entry in given_up)
        for entry in given_up:
            if used <= self.max_bytes:
                break
            _remove(folder, entry)
            used -= entry.size


def _entries(folder: Path) -> list[Entry]:
    entries = []
    try:
        with os.scandir(folder) as files:
            for file in files:
                name = file.name
                if not name.endswith(_SUFFIX) or name.startswith("."):
                    continue
                order, _, rest = name.removesuffix(_SUFFIX).partition("-")
                key, _, tries = rest.partition(".")
                if order.isdigit() and tries.isdigit():
                    with suppress(FileNotFoundError):
                        entries.append(Entry(int(order), key, int(tries), file.stat().st_size))
    except FileNotFoundError:
        return []
    return sorted(entries, key=lambda entry: entry.name)


def _remove(folder: Path, entry: Entry) -> None:
    (folder / entry.name).unlink(missing_ok=True)
    (folder / f"{entry.name}.txt").unlink(missing_ok=True)


def _lock(file: IO[bytes]) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
