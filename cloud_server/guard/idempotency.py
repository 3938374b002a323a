"""Idempotency keys: a request that is sent again gets the answer that it got.

A client that lost the connection cannot know whether it was answered. It repeats the request under
the same key; a second copy that comes while the first is being answered waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cloud_server.guard.request_id import Gone
from shared.errors import FieldInvalid
from shared.schemas import QueryResponse

IDEMPOTENCY_KEY: Final = "idempotency-key"
MOST_CHARACTERS: Final = 128


@dataclass
class _Stored:
    request: bytes
    answer: asyncio.Future[QueryResponse]
    until: float


class AnswerStore:
    """Answers by caller and key, the latest `most`, each for `ttl_s`. Errors are not kept."""

    def __init__(
        self, most: int, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._ttl, self._clock = most, ttl_s, clock
        self._stored: OrderedDict[tuple[str, str], _Stored] = OrderedDict()

    async def answer(
        self, caller: str, key: str, request: bytes, make: Callable[[], Awaitable[QueryResponse]]
    ) -> tuple[QueryResponse, bool]:
        """The answer, and whether it is one that was given before.

        request: a hash of what is asked. Raises FieldInvalid where the key came with another.
        """
        if not key or not self._most:
            return await make(), False
        if len(key) > MOST_CHARACTERS:
            raise FieldInvalid(f"{IDEMPOTENCY_KEY} has more than {MOST_CHARACTERS} characters")
        self._forget()
        name = (caller, key)
        while (stored := self._stored.get(name)) is not None:
            if stored.request != request:
                raise FieldInvalid(
                    f"{IDEMPOTENCY_KEY} {key!r} came with another request before",
                    hint="use a new key",
                )
            try:
                return await asyncio.shield(stored.answer), True
            except Gone:
                continue  # the first copy's connection broke: this one takes its place
        future: asyncio.Future[QueryResponse] = asyncio.get_running_loop().create_future()
        self._stored[name] = _Stored(request, future, self._clock() + self._ttl)
        try:
            answer = await make()
        except BaseException as error:
            del self._stored[name]
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # nobody need wait for it
            else:
                future.cancel()
            raise
        future.set_result(answer)
        return answer, False

    def _forget(self) -> None:
        """Drop what is too old or too many; what is still being answered stays."""
        now = self._clock()
        answered = [n for n, s in self._stored.items() if s.answer.done()]
        surplus = len(self._stored) - self._most + 1
        for i, name in enumerate(answered):
            if i < surplus or self._stored[name].until <= now:
                del self._stored[name]
