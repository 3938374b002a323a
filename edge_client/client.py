"""The Python interface of the edge: `EdgeClient`, and `AsyncEdgeClient` for an event loop.

Both are a connection around one core, which loads pictures, codes them and words requests.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Final

import httpx

from edge_client.encoder import Encoder
from edge_client.images import Resolution, Source, fit, load
from edge_client.protocol import Question, answer_of, check_prompt, question_of, request_of
from edge_client.protocol import unreachable as unreachable_of
from edge_client.settings import DEFAULT_SERVER
from shared.bitstream import Bitstream
from shared.bundle import DEFAULT, Bundle, open_bundle
from shared.errors import UsageError
from shared.schemas import QueryResponse


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, to hand the question over, to wait for its answer, and for a free
    connection of the pool."""

    connect: float = 5.0
    send: float = 30.0
    answer: float = 120.0
    pool: float = 30.0


DEFAULT_TIMEOUTS: Final = Timeouts()


class Core:
    """What the two clients have in common: everything but the connection."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str = "",
        bundle: Bundle | str = DEFAULT,
        quality: float | None = None,
        budget: int | None = None,
        resolution: Resolution = "model",
        guidance: bool = True,
        threads: int | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """quality: 0 to 9, default the bundle's own. budget: bytes, instead of a quality.

        resolution: long side in pixels at which pictures are coded: "model" is what the bundle's
        language model can use, "native" the picture's own; aspect kept, never scaled up.
        """
        self.server = server.rstrip("/")
        self.bundle = open_bundle(bundle) if isinstance(bundle, str) else bundle
        self.quality = self.bundle.manifest.quality if quality is None else quality
        self.budget = budget
        self.resolution = resolution
        self.guidance = guidance
        self.timeouts = timeouts
        if not (api_key.isascii() and api_key.isprintable()):
            raise UsageError("the API key has characters that no HTTP header can carry")
        self._api_key = api_key
        self._threads = threads
        self._loading = threading.Lock()
        self._encoder: Encoder | None = None

    @property
    def encoder(self) -> Encoder:
        """The bundle's networks, loaded when a picture is first coded."""
        with self._loading:
            if self._encoder is None:
                self._encoder = Encoder(self.bundle, self._threads)
            return self._encoder

    def encode(self, picture: Source, *, name: str = "") -> Bitstream:
        """The stream of a picture: a path, bytes, an open file, a PIL image or an array.

        Raises PictureError, or UsageError for a quality or budget that cannot be had.
        """
        pixels = fit(load(picture, name), self.resolution, self.bundle.manifest.resolution)
        analysed = self.encoder.analyse(pixels, self.guidance)
        if self.budget is not None:
            return analysed.code_within(self.budget)
        return analysed.code(self.quality)

    def question(self, picture: Source, prompt: str, max_new_tokens: int | None) -> Question:
        """Code a picture and put a question to it."""
        check_prompt(prompt, max_new_tokens)
        return question_of(self.encode(picture), prompt, max_new_tokens)

    def _http_options(self) -> dict[str, object]:
        waits = self.timeouts
        headers = {"Accept": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return {
            "base_url": self.server,
            "headers": headers,
            "timeout": httpx.Timeout(
                connect=waits.connect, write=waits.send, read=waits.answer, pool=waits.pool
            ),
        }


class EdgeClient(Core):
    """Asks a CoTAM server about pictures. A context manager; `close` frees its connections."""

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self._http_options())  # type: ignore[arg-type]

    def ask(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer.

        Raises any error of the tree in `shared.errors`.
        """
        return self.submit(self.question(picture, prompt, max_new_tokens))

    def submit(self, question: Question) -> QueryResponse:
        """Send a question that is coded already."""
        try:
            return answer_of(self._http.post(**request_of(question)))
        except httpx.TransportError as error:
            raise unreachable_of(error, self.server) from error

    def close(self) -> None:
        """Close the connections."""
        if "_http" in vars(self):
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


class AsyncEdgeClient(Core):
    """The same for an event loop; pictures are coded in a thread of their own."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._http_options())  # type: ignore[arg-type]

    async def ask(
        self, picture: Source, prompt: str, *, max_new_tokens: int | None = None
    ) -> QueryResponse:
        """Code a picture, send it with a question, return the answer."""
        question = await asyncio.to_thread(self.question, picture, prompt, max_new_tokens)
        return await self.submit(question)

    async def submit(self, question: Question) -> QueryResponse:
        """Send a question that is coded already."""
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
