"""What stands before every route but the probes, as dependencies.

key -> rate -> ready -> place -> (only now the body is read) -> answer by the deadline
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cloud_server.guard.bodies import discard
from cloud_server.service import Service
from shared.errors import CotamError


@dataclass(frozen=True)
class Ticket:
    """An admitted request: who asks, when it came and until when it is answered (loop time, s)."""

    caller: str
    came: float
    deadline: float


async def authorised(request: Request) -> str:
    """The caller's name. Raises KeyMissing or KeyRefused."""
    service: Service = request.app.state.service
    return service.keys.caller(request.headers.get("authorization", ""))


async def admitted(
    request: Request, caller: Annotated[str, Depends(authorised)]
) -> AsyncIterator[Ticket]:
    """A place inside until the answer has been sent. Raises RateLimited, NotReady, Overloaded."""
    service: Service = request.app.state.service
    now = asyncio.get_running_loop().time()
    with ExitStack() as stack:
        try:
            service.rate.take(caller or (request.client.host if request.client else ""))
            service.require_open()
            stack.enter_context(service.admission.enter())
        except CotamError:
            await discard(request, service.settings.max_body_bytes)
            raise
        yield Ticket(caller, now, now + service.settings.deadline_s)


Caller = Annotated[str, Depends(authorised)]
Admitted = Annotated[Ticket, Depends(admitted)]
