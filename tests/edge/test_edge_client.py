"""Both clients against a real server on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_client import AsyncEdgeClient, EdgeClient
from edge_client.server.client import Retries, Timeouts
from edge_client.server.query import Query
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import (
    BundleMissing,
    BundleUnknown,
    CotamError,
    DeadlineExceeded,
    KeyMissing,
    NotFound,
    Overloaded,
    RateLimited,
    ServerUnreachable,
    UpstreamError,
    UsageError,
)


def closed_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_ask(server: Any, photo: Path, bundle: Bundle) -> None:
    with EdgeClient(server.url, api_key="secret", threads=1) as client:
        answer = client.ask(photo, "how many cars? 🚗", max_new_tokens=8)
    assert answer.answer == "256 by 160"
    assert answer.image.codec == bundle.codec_id.hex()
    seen = server.seen[0]
    assert seen.path == "/v1/query"
    assert seen.prompt == "how many cars? 🚗"
    assert seen.fields["max_new_tokens"] == b"8"
    assert seen.headers["authorization"] == "Bearer secret"
    assert len(seen.headers["idempotency-key"]) == 16
    assert Bitstream.from_bytes(seen.fields["bitstream"]).codec_id == bundle.codec_id


def test_the_picture_decides_the_stream(server: Any, draw: Callable[..., np.ndarray]) -> None:
    with EdgeClient(server.url, threads=1) as client:
        streams = [client.encode(draw(64, 64, seed=seed)).to_bytes() for seed in (0, 1)]
        assert client.encode(draw(64, 64, seed=0)).to_bytes() == streams[0] != streams[1]


def test_ask_in_an_event_loop(server: Any, photo: Path) -> None:
    async def both() -> list[str]:
        async with AsyncEdgeClient(server.url, threads=1) as client:
            answers = await asyncio.gather(*(client.ask(photo, "how large?") for _ in range(3)))
        return [answer.answer for answer in answers]

    assert asyncio.run(both()) == ["256 by 160"] * 3


def test_no_server(photo: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with (
        EdgeClient(url, threads=1, retries=Retries(0)) as client,
        pytest.raises(ServerUnreachable, match=url),
    ):
        client.ask(photo, "anyone?")

    async def ask_again() -> None:
        async with AsyncEdgeClient(url, threads=1, retries=Retries(0)) as client:
            await client.ask(photo, "anyone?")

    with pytest.raises(ServerUnreachable, match=url):
        asyncio.run(ask_again())


def test_a_server_that_never_answers(photo: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with (
            EdgeClient(
                url, threads=1, retries=Retries(0), timeouts=Timeouts(answer=0.05)
            ) as client,
            pytest.raises(ServerUnreachable, match="did not answer in time"),
        ):
            client.ask(photo, "anyone?")


def test_errors_come_back_as_they_were(server: Any, photo: Path, problem: Any) -> None:
    server.replies = [
        problem(429, "rate_limited", "slow down", hint="wait", instance="r-7", retry_after=3),
        problem(409, "bundle_unknown", "not here", bundles=["00112233"]),
        problem(503, "overloaded", "busy", retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        problem(418, "teapot", "short and stout"),
        (401, {"content-type": "text/html", "x-request-id": "r-8"}, b"<h1>no</h1>"),
        (404, {}, b""),
        (301, {"location": "https://elsewhere.test/v1/query"}, b""),
        (504, {"retry-after": "soon"}, b""),
        (502, {"content-type": "application/problem+json"}, b"{}"),
        (200, {"content-type": "application/json"}, b'{"answer": 3}'),
        (200, {"content-type": "text/html"}, b"<h1>hello</h1>"),
    ]
    wanted: list[type[CotamError]] = [RateLimited, BundleUnknown, Overloaded, CotamError]
    wanted += [
        KeyMissing,
        NotFound,
        UpstreamError,
        DeadlineExceeded,
        UpstreamError,
        UpstreamError,
        UpstreamError,
    ]
    raised = []
    with EdgeClient(server.url, threads=1, retries=Retries(0)) as client:
        question = Query(client.encode(photo).to_bytes(), "why?")
        for _ in wanted:
            with pytest.raises(CotamError) as caught:
                client.submit(question)
            raised.append(caught.value)
    assert [type(error) for error in raised] == wanted
    assert (raised[0].retry_after, raised[0].request_id, raised[0].hint) == (3.0, "r-7", "wait")
    assert "00112233" in str(raised[1])
    assert raised[2].retry_after == 0.0
    assert raised[4].request_id == "r-8"
    assert "https://elsewhere.test" in raised[6].hint
    assert raised[7].retry_after is None


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * 1_000_000])
def test_prompts_that_are_none_cost_no_coding(prompt: str, server: Any, tmp_path: Path) -> None:
    with (
        EdgeClient(server.url, threads=1) as client,
        pytest.raises(UsageError, match="prompt") as caught,
    ):
        client.ask(tmp_path / "does-not-matter.png", prompt)
    assert len(str(caught.value)) < 200
    assert not server.seen


def test_settings_that_are_none() -> None:
    with pytest.raises(BundleMissing, match="nowhere"):
        EdgeClient(bundle="nowhere")
    with pytest.raises(UsageError, match="API key"):
        EdgeClient(api_key="line\nbreak")


def test_retries_send_the_same_job_again(server: Any, photo: Path, problem: Any) -> None:
    passing = problem(503, "overloaded", "busy", retry_after=0), problem(502, "upstream", "died")
    server.replies = [*passing]
    now = Retries(2, base=0.0)
    with EdgeClient(server.url, threads=1, retries=now) as client:
        assert client.ask(photo, "once?").answer == "256 by 160"

    server.replies = [*passing]

    async def ask_again() -> str:
        async with AsyncEdgeClient(server.url, threads=1, retries=now) as client:
            return (await client.ask(photo, "twice?")).answer

    assert asyncio.run(ask_again()) == "256 by 160"
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert keys[0] == keys[1] == keys[2] != keys[3] == keys[4] == keys[5]


def test_waits_grow_and_obey_the_server() -> None:
    retries = Retries(count=4, base=1.0, most=6.0)
    busy = Overloaded("busy")
    assert [retries.wait(n, busy, 1.0) for n in (1, 2, 3, 4, 5)] == [1.0, 2.0, 4.0, 6.0, None]
    assert retries.wait(1, busy, 0.0) == 0.5
    busy.retry_after = 3.0
    assert retries.wait(1, busy, 1.0) == pytest.approx(3.1)
    busy.retry_after = 60.0
    assert retries.wait(1, busy, 1.0) is None
    assert retries.wait(1, BundleUnknown("not here"), 1.0) is None


def test_ask_many_keeps_order_and_errors(
    server: Any, draw: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    pictures: list[Any] = [draw(16 * n, 16) for n in (1, 2, 3)]
    pictures.insert(1, tmp_path / "none.png")
    wanted = ["16 by 16", "picture_unreadable", "32 by 16", "48 by 16"]

    def text(result: Any) -> str:
        return result.code if isinstance(result, CotamError) else result.answer

    with EdgeClient(server.url, threads=1) as client:
        for concurrency in (1, 3):
            results = client.ask_many(pictures, "?", concurrency=concurrency)
            assert [text(result) for result in results] == wanted

    async def many() -> list[str]:
        async with AsyncEdgeClient(server.url, threads=1) as client:
            return [text(r) async for r in client.ask_many(pictures, "?", concurrency=2)]

    assert asyncio.run(many()) == wanted
