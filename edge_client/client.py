"""The Python interface of the edge: `EdgeClient`, and `AsyncEdgeClient` for an event loop.

Both are a connection around one core, which loads pictures, codes them and words requests.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from types import TracebackType
from typing import Any

import httpx

from edge_client.batch import ordered_map
from edge_client.core import Core, Timeouts
from edge_client.images import Source
from edge_client.protocol import answer_of, request_of
from edge_client.protocol import unreachable as unreachable_of
from edge_client.question import Question, check_prompt
from edge_client.retries import Retries
from shared.errors import CotamError
from shared.schemas import QueryResponse

__all__ = ["AsyncEdgeClient", "EdgeClient", "Retries", "Timeouts"]


class EdgeClient(Core):
    """Asks a CoTAM server about pictures. A context manager; `close` frees its connections."""

    _open: httpx.Client | None = None

    @property
    def _http(self) -> httpx.Client:
        with self._loading:
            if self._open is None:
                self._open = httpx.Client(**_http_options(self))
            return self._open

    def ask(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer.

        Raises any error of the tree in `shared.errors`.
        """
        return self.submit(self.question(picture, prompt, max_new_tokens))

    def submit(self, question: Question) -> QueryResponse:
        """Send a question that is coded already; again, under the same key, where that may help."""
        failures = 0
        while True:
            try:
                return self._post(question)
            except CotamError as error:
                failures += 1
                wait = self.retries.wait(failures, error, random.random())
                if wait is None:
                    raise
            time.sleep(wait)

    def ask_many(
        self,
        pictures: Iterable[Source],
        prompt: str,
        *,
        concurrency: int = 4,
        max_new_tokens: int | None = None,
    ) -> Iterator[QueryResponse | CotamError]:
        """One question about many pictures: an answer or its error for each, in their order.

        Pictures are taken as they are needed; `concurrency` are under way at a time.
        """
        check_prompt(prompt, max_new_tokens)

        def one(picture: Source) -> QueryResponse | CotamError:
            try:
                return self.ask(picture, prompt, max_new_tokens=max_new_tokens)
            except CotamError as error:
                return error

        return ordered_map(one, pictures, concurrency)

    def _post(self, question: Question) -> QueryResponse:
        try:
            return answer_of(self._http.post(**request_of(question)))
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error

    def close(self) -> None:
        """Close the connections."""
        if self._open is not None:
            self._open.close()

    def __enter__(self) -> EdgeClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncEdgeClient(Core):
    """The same for an event loop; pictures are coded in a thread of their own."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**_http_options(self))

    async def ask(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer."""
        question = await asyncio.to_thread(self.question, picture, prompt, max_new_tokens)
        return await self.submit(question)

    async def submit(self, question: Question) -> QueryResponse:
        """Send a question that is coded already; again, under the same key, where that may help."""
        failures = 0
        while True:
            try:
                return await self._post(question)
            except CotamError as error:
                failures += 1
                wait = self.retries.wait(failures, error, random.random())
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def ask_many(
        self,
        pictures: Iterable[Source],
        prompt: str,
        *,
        concurrency: int = 4,
        max_new_tokens: int | None = None,
    ) -> AsyncIterator[QueryResponse | CotamError]:
        """One question about many pictures: an answer or its error for each, in their order."""
        check_prompt(prompt, max_new_tokens)

        async def one(picture: Source) -> QueryResponse | CotamError:
            try:
                return await self.ask(picture, prompt, max_new_tokens=max_new_tokens)
            except CotamError as error:
                return error

        running: deque[asyncio.Task[QueryResponse | CotamError]] = deque()
        try:
            for picture in pictures:
                running.append(asyncio.create_task(one(picture)))
                if len(running) >= max(1, concurrency):
                    yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()

    async def _post(self, question: Question) -> QueryResponse:
        try:
            return answer_of(await self._http.post(**request_of(question)))
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error

    async def close(self) -> None:
        """Close the connections."""
        if "_http" in vars(self):
            await self._http.aclose()

    async def __aenter__(self) -> AsyncEdgeClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _http_options(core: Core) -> dict[str, Any]:
    waits = core.timeouts
    headers = {"Accept": "application/json"}
    if core.api_key:
        headers["Authorization"] = f"Bearer {core.api_key}"
    return {
        "base_url": core.server,
        "headers": headers,
        "timeout": httpx.Timeout(
            connect=waits.connect, write=waits.send, read=waits.answer, pool=waits.pool
        ),
    }
