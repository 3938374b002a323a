"""The Python interface of the edge: `EdgeClient`, and `AsyncEdgeClient` for an event loop.

Both are a connection and a loop that does what an `Exchange` tells.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final

import httpx

from edge_client.batch import ordered_map
from edge_client.coding.bundles import AUTO
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.images import Resolution
from edge_client.server.answer_stream import AnswerReader
from edge_client.server.connection import DEFAULT_TIMEOUTS, Connection, Timeouts
from edge_client.server.exchange import (
    Attempt,
    Enhance,
    Exchange,
    Look,
    Send,
    Steps,
    T,
    Wait,
    Work,
    attempt_of,
)
from edge_client.server.protocol import enhancement_of, request_of
from edge_client.server.query import AskBack, Query, check_asked
from edge_client.server.retries import DEFAULT_RETRIES, Retries
from edge_client.server.served import MODELS, Served
from edge_client.server.sources import Subject
from edge_client.settings import DEFAULT_SERVER
from shared.bundle import Bundle
from shared.errors import CotamError
from shared.schemas import QueryResponse

__all__ = ["AskBack", "AsyncEdgeClient", "EdgeClient", "Retries", "Timeouts"]

FIRST_QUALITY: Final = 1.0
"""Of pictures of which more can be asked for: `python -m evaluation ask_back`."""


class _Client(PictureCoder):
    """What both clients have in common: everything but the connection's kind."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str = "",
        bundle: Bundle | str = AUTO,
        quality: float | None = None,
        budget: int | None = None,
        resolution: Resolution = "model",
        guidance: bool = True,
        focus: bool = False,
        threads: int | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retries: Retries = DEFAULT_RETRIES,
        ask_back: AskBack | None = None,
    ) -> None:
        """See `PictureCoder` for what is about pictures.

        ask_back: send a picture small, and of what an unsure answer asks for more. The default
        quality is then `FIRST_QUALITY`. Of `stream`, and of several pictures at once, nothing is
        asked back.
        """
        if ask_back is not None and quality is None and budget is None:
            quality = FIRST_QUALITY
        super().__init__(
            bundle,
            quality=quality,
            budget=budget,
            resolution=resolution,
            guidance=guidance,
            focus=focus,
            threads=threads,
        )
        self.connection = Connection(server, api_key, timeouts)
        self._exchange = Exchange(
            self, self.connection, retries, Served(self.connection.server), ask_back
        )
        self._exchange.follow()
        self._connect()

    def _connect(self) -> None:
        """Open the connection. Raises UsageError where the environment stands in its way."""
        raise NotImplementedError


def _request(step: Send | Enhance) -> dict[str, Any]:
    """Arguments of httpx's `build_request`."""
    if isinstance(step, Enhance):
        return enhancement_of(step.handle, step.enhancement)
    return request_of(step.query, step.grows)


class EdgeClient(_Client):
    """Asks a CoTAM server about pictures. A context manager; `close` frees its connections."""

    def _connect(self) -> None:
        self._http = self.connection.open()

    def ask(
        self,
        picture: Subject | Sequence[Subject],
        prompt: str,
        *,
        max_new_tokens: int | None = None,
    ) -> QueryResponse:
        """Code a picture, or a list of them, send it with a question, return the answer.

        Where the server takes streams of other bundles only, and no bundle was asked for, the
        picture is coded again with one of those. A stream (a Bitstream, or its bytes or file) is
        sent as it is. Raises any error of the tree in `shared.errors`.
        """
        return self.attempt(attempt_of(picture, prompt, max_new_tokens)).result()

    def attempt(self, attempt: Attempt, *, send: bool = True) -> Attempt:
        """As `ask`, but what became of it is returned: the stream, and the answer or the error.

        send: False goes only as far as that needs no server.
        """
        return self._drive((self._exchange.ask if send else self._exchange.code)(attempt))

    def stream(
        self,
        picture: Subject | Sequence[Subject],
        prompt: str,
        *,
        max_new_tokens: int | None = None,
    ) -> Iterator[str | QueryResponse]:
        """As `ask`, but the answer comes as it grows: pieces of text, last the whole answer.

        Not tried again when it breaks off: what was read of it is read already.
        """
        reader = AnswerReader()
        response = self._drive(self._exchange.open(attempt_of(picture, prompt, max_new_tokens)))
        try:
            for line in response.iter_lines():
                if (piece := reader.feed(line)) is not None:
                    yield piece
        except httpx.RequestError as error:
            raise self.connection.unreachable(error) from error
        finally:
            response.close()
        reader.finish()

    def submit(self, query: Query) -> QueryResponse:
        """Send a query that is coded already; again, under the same key, where that may help."""
        return self._drive(self._exchange.submit(query))

    def agree(self) -> Bundle:
        """Use a bundle from now on that the server takes, fetched where this device has none."""
        self._drive(self._exchange.agree())
        return self.bundle

    def ask_many(
        self,
        pictures: Iterable[Subject],
        prompt: str,
        *,
        concurrency: int = 4,
        max_new_tokens: int | None = None,
    ) -> Iterator[QueryResponse | CotamError]:
        """One question about many pictures: an answer or its error for each, in their order.

        Pictures are taken as they are needed; `concurrency` are under way at a time.
        """
        check_asked(prompt, max_new_tokens)

        def ask(picture: Subject) -> QueryResponse | CotamError:
            return self.attempt(Attempt(picture, prompt, max_new_tokens)).outcome

        return ordered_map(ask, pictures, concurrency)

    def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    result = self._do(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _do(self, step: Send | Enhance | Look | Wait | Work) -> Any:
        if isinstance(step, Wait):
            return time.sleep(step.seconds)
        if isinstance(step, Look):
            return self._http.get(MODELS)
        if not isinstance(step, (Send, Enhance)):
            return step()
        request = self._http.build_request(**_request(step))
        response = self._http.send(request, stream=isinstance(step, Send) and step.grows)
        if not response.is_success:
            response.read()
        return response

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> EdgeClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncEdgeClient(_Client):
    """The same for an event loop; pictures are coded in a thread of their own."""

    def _connect(self) -> None:
        self._http = self.connection.open_async()

    async def ask(
        self,
        picture: Subject | Sequence[Subject],
        prompt: str,
        *,
        max_new_tokens: int | None = None,
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer."""
        return (await self.attempt(attempt_of(picture, prompt, max_new_tokens))).result()

    async def attempt(self, attempt: Attempt, *, send: bool = True) -> Attempt:
        """As `ask`, but what became of it is returned: the stream, and the answer or the error."""
        return await self._drive((self._exchange.ask if send else self._exchange.code)(attempt))

    async def stream(
        self,
        picture: Subject | Sequence[Subject],
        prompt: str,
        *,
        max_new_tokens: int | None = None,
    ) -> AsyncIterator[str | QueryResponse]:
        """As `ask`, but the answer comes as it grows: pieces of text, last the whole answer."""
        reader = AnswerReader()
        response = await self._drive(
            self._exchange.open(attempt_of(picture, prompt, max_new_tokens))
        )
        try:
            async for line in response.aiter_lines():
                if (piece := reader.feed(line)) is not None:
                    yield piece
        except httpx.RequestError as error:
            raise self.connection.unreachable(error) from error
        finally:
            await response.aclose()
        reader.finish()

    async def submit(self, query: Query) -> QueryResponse:
        """Send a query that is coded already; again, under the same key, where that may help."""
        return await self._drive(self._exchange.submit(query))

    async def agree(self) -> Bundle:
        """Use a bundle from now on that the server takes, fetched where this device has none."""
        await self._drive(self._exchange.agree())
        return self.bundle

    async def ask_many(
        self,
        pictures: Iterable[Subject],
        prompt: str,
        *,
        concurrency: int = 4,
        max_new_tokens: int | None = None,
    ) -> AsyncIterator[QueryResponse | CotamError]:
        """One question about many pictures: an answer or its error for each, in their order."""
        check_asked(prompt, max_new_tokens)
        running: deque[asyncio.Task[Attempt]] = deque()
        try:
            for picture in pictures:
                attempt = self.attempt(Attempt(picture, prompt, max_new_tokens))
                running.append(asyncio.create_task(attempt))
                if len(running) >= max(1, concurrency):
                    yield (await running.popleft()).outcome
            while running:
                yield (await running.popleft()).outcome
        finally:
            for task in running:
                task.cancel()

    async def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._do(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _do(self, step: Send | Enhance | Look | Wait | Work) -> Any:
        if isinstance(step, Wait):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Look):
            return await self._http.get(MODELS)
        if not isinstance(step, (Send, Enhance)):
            return await asyncio.to_thread(step)
        request = self._http.build_request(**_request(step))
        response = await self._http.send(request, stream=isinstance(step, Send) and step.grows)
        if not response.is_success:
            await response.aread()
        return response

    async def close(self) -> None:
        """Close the connections."""
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
