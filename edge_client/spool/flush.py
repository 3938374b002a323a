"""Send what waits in the spool, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_client.server.query import Query
from edge_client.server.retries import RETRIED
from edge_client.spool.store import Entry, Job, JobUnreadable, Spool
from shared.errors import (
    BundleUnknown,
    CotamError,
    DeadlineExceeded,
    KeyMissing,
    KeyRefused,
    UpstreamError,
    UsageError,
)

if TYPE_CHECKING:
    from shared.schemas import QueryResponse

_STOPS: Final = (*RETRIED, KeyMissing, KeyRefused)
"""What lies with the server or the key: the rest would fare no better."""


@dataclass(frozen=True)
class Sent:
    """What became of a job: its answer, or an error; given_up: it is in the poison folder now."""

    entry: Entry
    job: Job | None
    answer: QueryResponse | None = None
    error: CotamError | None = None
    given_up: bool = False


def send_waiting(
    spool: Spool, submit: Callable[[Query], QueryResponse], now: float | None = None
) -> Iterator[Sent]:
    """Send the jobs one after the other. A job is removed when its result has been taken from here.

    Stops at the first error that lies with the server; what lies with a job costs it a try or, for
    good, its place. Raises UsageError where another process is at it.
    """
    with spool.lock():
        for entry in spool.entries():
            result = _send_one(spool, entry, submit, now)
            yield result
            if result.answer is not None:
                spool.remove(entry)
            elif not result.given_up and isinstance(result.error, _STOPS):
                return


def _send_one(
    spool: Spool, entry: Entry, submit: Callable[[Query], QueryResponse], now: float | None
) -> Sent:
    try:
        job = spool.read(entry)
    except JobUnreadable as error:
        spool.give_up(entry, error)
        return Sent(entry, None, error=error, given_up=True)
    if spool.is_too_old(job, now):
        expired = UsageError(f"{job.picture} waited for longer than {spool.max_age:g} seconds")
        spool.give_up(entry, expired)
        return Sent(entry, job, error=expired, given_up=True)
    try:
        return Sent(entry, job, answer=submit(job.query))
    except CotamError as error:
        if isinstance(error, UpstreamError | DeadlineExceeded) or type(error) is CotamError:
            given_up = spool.failed(entry, error)
        elif isinstance(error, (*_STOPS, BundleUnknown)):
            given_up = False  # another server, key or day takes it
        else:
            spool.give_up(entry, error)
            given_up = True
        return Sent(entry, job, error=error, given_up=given_up)
