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
from edge_client.pictures.images import Picture, Source
from edge_client.server import bundles
from edge_client.server.core import Core, Timeouts
from edge_client.server.events import EventReader
from edge_client.server.protocol import answer_of, check_status, request_of
from edge_client.server.protocol import unreachable as unreachable_of
from edge_client.server.question import Question, check_asked
from edge_client.server.retries import Retries
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import BundleUnknown, CotamError
from shared.schemas import QueryResponse

__all__ = ["AsyncEdgeClient", "EdgeClient", "Retries", "Timeouts"]


class EdgeClient(Core):
    """Asks a CoTAM server about pictures. A context manager; `close` frees its connections."""

    _open: httpx.Client | None = None

    @property
    def _http(self) -> httpx.Client:
        with self._loading:
            if self._open is None:
                self._open = httpx.Client(**http_options(self))
            return self._open

    def ask(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer.

        Where the server takes streams of other bundles only, and no bundle was asked for, the
        picture is coded again with one of those. Raises any error of the tree in `shared.errors`.
        """
        check_asked(prompt, max_new_tokens)
        pixels = self.pixels(picture)
        stream = self.code(pixels)
        question = Question(stream.to_bytes(), prompt, max_new_tokens)
        return self.ask_pixels(pixels, stream, question)[1]

    def ask_pixels(
        self, pixels: Picture, stream: Bitstream, question: Question
    ) -> tuple[Bitstream, QueryResponse]:
        """As `ask`, of pixels that are coded already; also returns the stream that was answered."""
        try:
            return stream, self.submit(question)
        except BundleUnknown as refused:
            if not self.any_bundle:
                raise
            try:
                self.agree()
            except CotamError as error:
                raise refused from error
            stream = self.code(pixels)
            again = Question(stream.to_bytes(), question.prompt, question.max_new_tokens)
            return stream, self.submit(again)

    def agree(self) -> Bundle:
        """Use a bundle from now on that the server takes, fetched where this device has none."""
        try:
            self.use(bundles.agree(self._http, self.bundle))
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error
        return self.bundle

    def stream(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> Iterator[str | QueryResponse]:
        """As `ask`, but the answer comes as it grows: pieces of text, last the whole answer.

        Not tried again when it fails: what was read of it is read already.
        """
        check_asked(prompt, max_new_tokens)
        question = Question(self.encode(picture).to_bytes(), prompt, max_new_tokens)
        reader = EventReader()
        try:
            with self._http.stream("POST", **request_of(question, stream=True)) as response:
                if not response.is_success:
                    response.read()
                check_status(response)
                for line in response.iter_lines():
                    if (found := reader.feed(line)) is not None:
                        yield found
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error
        reader.finish()

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
        check_asked(prompt, max_new_tokens)

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
        return httpx.AsyncClient(**http_options(self))

    async def ask(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer."""
        check_asked(prompt, max_new_tokens)
        pixels = await asyncio.to_thread(self.pixels, picture)
        stream = await asyncio.to_thread(self.code, pixels)
        try:
            return await self.submit(Question(stream.to_bytes(), prompt, max_new_tokens))
        except BundleUnknown as refused:
            if not self.any_bundle:
                raise
            try:
                await self.agree()
            except CotamError as error:
                raise refused from error
            stream = await asyncio.to_thread(self.code, pixels)
            return await self.submit(Question(stream.to_bytes(), prompt, max_new_tokens))

    async def agree(self) -> Bundle:
        """Use a bundle from now on that the server takes, fetched where this device has none."""

        def choose() -> Bundle:
            with httpx.Client(**http_options(self)) as http:
                return bundles.agree(http, self.bundle)

        try:
            self.use(await asyncio.to_thread(choose))
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error
        return self.bundle

    async def stream(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> AsyncIterator[str | QueryResponse]:
        """As `ask`, but the answer comes as it grows: pieces of text, last the whole answer."""
        check_asked(prompt, max_new_tokens)
        coded = await asyncio.to_thread(self.encode, picture)
        question = Question(coded.to_bytes(), prompt, max_new_tokens)
        reader = EventReader()
        try:
            async with self._http.stream("POST", **request_of(question, stream=True)) as response:
                if not response.is_success:
                    await response.aread()
                check_status(response)
                async for line in response.aiter_lines():
                    if (found := reader.feed(line)) is not None:
                        yield found
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error
        reader.finish()

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
        check_asked(prompt, max_new_tokens)

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


def http_options(core: Core) -> dict[str, Any]:
    """Arguments of httpx's clients."""
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
