"""When a failed question is sent again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.errors import (
    CotamError,
    NotReady,
    Overloaded,
    RateLimited,
    ServerUnreachable,
    UpstreamError,
)

RETRIED: Final = (NotReady, Overloaded, RateLimited, ServerUnreachable, UpstreamError)
"""What may pass by itself. A deadline would be missed again; other errors lie with the question."""


@dataclass(frozen=True)
class Retries:
    """count: tries after the first. base, most: seconds; the wait doubles from one to the other."""

    count: int = 3
    base: float = 0.25
    most: float = 20.0

    def wait(self, failures: int, error: CotamError, chance: float) -> float | None:
        """Seconds before the next try after that many failures; None: give up.

        chance: 0..1, spreads the tries of clients that failed together. A server that names a time
        (Retry-After) is obeyed; one that names more than `most` is not waited for.
        """
        if failures > self.count or not isinstance(error, RETRIED):
            return None
        backoff = min(self.most, self.base * 2.0 ** (failures - 1)) * (0.5 + 0.5 * chance)
        if error.retry_after is None:
            return backoff
        return error.retry_after + backoff * 0.1 if error.retry_after <= self.most else None


DEFAULT_RETRIES: Final = Retries()
