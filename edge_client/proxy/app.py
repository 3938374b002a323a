"""The routes of the proxy.

program --pictures--> POST /v1/chat/completions --streams--> server
        <--- status, body, events as they come ------------'
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edge_client.coding.picture_coder import PictureCoder
from edge_client.proxy.rewriting import Rewritten, rewrite
from edge_client.proxy.totals import MEDIA_TYPE, Totals
from edge_client.server.bundles import choose_bundle
from edge_client.server.connection import Connection
from edge_client.server.protocol import check_status
from edge_client.server.served import MODELS, Served
from shared.bundle import Bundle
from shared.errors import (
    BodyTooLarge,
    BundleUnknown,
    CotamError,
    MethodNotAllowed,
    NotFound,
    RequestError,
    http_status,
)
from shared.schemas import openai_error

MOST_BYTES: Final = 64 << 20
"""Of a request's body."""

_OF_A_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "content-length"}
)
# Of a caller: what tells the server nothing about the question; every byte counts.
_KEPT_HERE: Final = _OF_A_CONNECTION | {"host", "expect", "accept-encoding", "user-agent"}
_NOT_GIVEN_BACK: Final = _OF_A_CONNECTION | {"content-encoding", "date", "server"}

_NO_MEMORY: Final = CotamError("there is not enough memory", hint="lower --resolution")

Say = Callable[[str], None]


def create_app(
    coder: PictureCoder, connection: Connection, say: Say, concurrency: int = 2
) -> Starlette:
    """The proxy before a server, as an ASGI app.

    say: takes a line for each request. concurrency: requests whose pictures are coded at a time;
    any number wait for their answers.

    Raises UsageError where the environment stands in the connection's way.
    """
    proxy = _Proxy(coder, connection, say, concurrency)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.close()

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.scope["path"]
        refusal: CotamError = MethodNotAllowed(f"{path} does not take {request.method}")
        if error.status_code == 404:
            hint = "/v1/chat/completions, /v1/models and /metrics are"
            refusal = NotFound(f"{path} is nothing that this proxy passes on", hint=hint)
        return _error_response(refusal)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", proxy.chat, methods=["POST"]),
            Route("/v1/models", proxy.models),
            Route("/v1/models/{model:path}", proxy.models),
            Route("/metrics", proxy.metrics),
        ],
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )


class _Proxy:
    def __init__(
        self, coder: PictureCoder, connection: Connection, say: Say, concurrency: int
    ) -> None:
        self._coder = coder
        self._connection = connection
        self._say = say
        self._http = connection.open_async()
        # Few at a time: the networks use all cores as it is, and pixels take memory.
        self._coding = asyncio.Semaphore(concurrency)
        self._totals = Totals()
        self._served = Served(connection.server)

    async def close(self) -> None:
        await self._http.aclose()

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, self._chat)

    async def models(self, request: Request) -> Response:
        return await self._answer(request, partial(self._send, content=Rewritten(b"")))

    async def metrics(self, _: Request) -> Response:
        return Response(self._totals.exposition(), media_type=MEDIA_TYPE)

    async def _answer(
        self, request: Request, ask: Callable[[Request], Awaitable[httpx.Response]]
    ) -> Response:
        """What the server answers, or an error in OpenAI's form; counted."""
        try:
            if "origin" in request.headers:
                raise RequestError(
                    "a page in a browser asked, which this proxy does not answer",
                    hint="any page could then ask with this device's key",
                )
            answer = await self._passed_back(await ask(request))
        except (CotamError, MemoryError) as error:
            refusal = error if isinstance(error, CotamError) else _NO_MEMORY
            answer = _error_response(refusal)
            self._say(f"{request.method} {_path(request)} {answer.status_code}: {refusal}")
        self._totals.requests[answer.status_code] += 1
        return answer

    async def _chat(self, request: Request) -> httpx.Response:
        body = await _read_body(request)
        await self._look(request)
        bundle, coded = await self._code(body)
        response = await self._send(request, coded)
        if coded.pictures and await self._agreed_after(response, bundle, request):
            _, coded = await self._code(body)
            response = await self._send(request, coded)
        return response

    async def _look(self, request: Request) -> None:
        """Find out at which resolution pictures are worth sending, where that is not known."""
        if not self._coder.follows_server:
            return
        if not self._served.known:
            key = self._key(request)
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            # Where it does not say: what is wrong with the question, it will.
            with suppress(CotamError, httpx.RequestError):
                self._served.keep(await self._http.get(MODELS, headers=headers))
        self._coder.served_resolution = self._served.resolution

    async def _code(self, body: bytes) -> tuple[Bundle, Rewritten]:
        async with self._coding:
            bundle = self._coder.bundle
            return bundle, await asyncio.to_thread(rewrite, body, self._stream_of)

    def _stream_of(self, picture: bytes, name: str) -> bytes:
        return self._coder.encode(picture, name=name).to_bytes()

    async def _send(self, request: Request, content: Rewritten) -> httpx.Response:
        """The answer, its body not read yet."""
        kept = _KEPT_HERE | {"authorization"} if self._connection.api_key else _KEPT_HERE
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.decode("latin-1") not in kept and not name.startswith(b"x-stainless-")
        ]
        path, query = _path(request), request.scope["query_string"].decode("latin-1")
        outgoing = self._http.build_request(
            request.method,
            f"{path}?{query}" if query else path,
            headers=headers,
            content=content.body or None,
        )
        try:
            response = await self._http.send(outgoing, stream=True)
        except httpx.RequestError as error:
            raise self._connection.unreachable(error) from error
        self._totals.pictures += content.pictures
        self._totals.picture_bytes += content.picture_bytes
        self._totals.stream_bytes += content.stream_bytes
        self._totals.saved_bytes += content.received - len(content.body)
        line = f"{request.method} {_path(request)} {response.status_code}"
        if content.body:
            line += (
                f": {content.received} bytes in, {len(content.body)} out, "
                f"{content.received - len(content.body)} saved; "
                f"pictures: {content.pictures}, {content.picture_bytes} bytes as "
                f"{content.stream_bytes}"
            )
        self._say(line)
        return response

    async def _agreed_after(
        self, response: httpx.Response, bundle: Bundle, request: Request
    ) -> bool:
        """Whether the server lacks the bundle and another is used from now on.

        bundle: with which was coded.
        """
        if response.is_success or not self._coder.any_bundle:
            return False
        await self._whole(response)
        try:
            check_status(response)
        except BundleUnknown:
            pass
        except CotamError:
            return False
        if self._coder.bundle.id != bundle.id:
            return True  # another request was refused as well, and has agreed
        try:
            connection = Connection(
                self._connection.server, self._key(request), self._connection.timeouts
            )
            self._coder.use(await asyncio.to_thread(choose_bundle, connection, bundle))
        except (CotamError, httpx.RequestError):  # the refusal says more
            return False
        return True

    def _key(self, request: Request) -> str:
        """This device's, or else the caller's own."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return self._connection.api_key or (given.strip() if scheme.lower() == "bearer" else "")

    async def _passed_back(self, response: httpx.Response) -> Response:
        if response.has_redirect_location:  # who followed it would go past this proxy
            await self._whole(response)
            check_status(response)
        answer: Response
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            answer = StreamingResponse(self._events(response), response.status_code)
        else:
            await self._whole(response)
            answer = Response(response.content, response.status_code)
        answer.raw_headers += [
            (name.lower(), value)
            for name, value in response.headers.raw
            if name.decode("latin-1").lower() not in _NOT_GIVEN_BACK
        ]
        return answer

    async def _whole(self, response: httpx.Response) -> None:
        try:
            await response.aread()
        except httpx.RequestError as error:
            raise self._connection.unreachable(error) from error

    async def _events(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in response.aiter_bytes():
                yield piece
        except httpx.RequestError as broken:
            error = self._connection.unreachable(broken)
            self._say(f"an answer broke off: {error}")
            # An object `error` in a chunk is what OpenAI's clients raise.
            body = openai_error(error, http_status(error)).model_dump_json()
            yield f'\n\ndata: {{"error":{body}}}\n\n'.encode()
        finally:
            await response.aclose()


async def _read_body(request: Request) -> bytes:
    """The body. One that is too large is read on for a while, so that its sender sees why."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            f"the body is said to be {kind[:64] or 'nothing'}",
            hint="set Content-Type: application/json",
        )
    body = bytearray()
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MOST_BYTES:
                body += chunk
            elif size > 4 * MOST_BYTES:
                break
    except ClientDisconnect as error:
        raise RequestError("the caller went away before the end of its body") from error
    if size > MOST_BYTES:
        raise BodyTooLarge(
            f"the body has more than {MOST_BYTES} bytes", hint="send fewer or smaller pictures"
        )
    return bytes(body)


def _path(request: Request) -> str:
    """As it was sent: what is escaped in it stays so, on the way to the server and in the log."""
    return str(request.scope["raw_path"].decode("latin-1"))


def _error_response(error: CotamError) -> Response:
    status = http_status(error)
    body = openai_error(error, status).model_dump_json()
    return Response(f'{{"error":{body}}}', status, media_type="application/json")
