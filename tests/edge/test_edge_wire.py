"""What a question costs beside its stream and its text, counted where it travels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_client import AsyncEdgeClient, EdgeClient
from evaluation.machine.relay import counting_relay
from shared.schemas import QueryResponse

MOST_BYTES = 150
LOOKING = 60  # of GET /v1/models, once a day


@pytest.fixture
def picture(draw: Callable[..., np.ndarray]) -> np.ndarray:
    return draw(64, 48)


@pytest.mark.parametrize("prompt", ["how many cars are there?", "wie viele Bäume? 🌳" * 10])
def test_a_request_adds_at_most_150_bytes(
    server_url: str, picture: np.ndarray, prompt: str
) -> None:
    with counting_relay(server_url) as relay, EdgeClient(relay.url, threads=1) as client:
        known = len(client.encode(picture).to_bytes()) + len(prompt.encode())
        client.ask(picture, prompt, max_new_tokens=None)
        assert 0 < relay.up - known <= MOST_BYTES + LOOKING
        for _ in range(3):
            before = relay.up
            client.ask(picture, prompt, max_new_tokens=None)
            assert 0 < relay.up - before - known <= MOST_BYTES
        assert relay.connections == 1


def test_an_event_loop_and_an_answer_that_grows_cost_no_more(
    server_url: str, picture: np.ndarray
) -> None:
    prompt = "how many cars?"

    async def ask(url: str) -> None:
        async with AsyncEdgeClient(url, threads=1) as client:
            await client.ask(picture, prompt)
            await client.ask(picture, prompt)

    with counting_relay(server_url) as relay, EdgeClient(relay.url, threads=1) as client:
        known = len(client.encode(picture).to_bytes()) + len(prompt)
        asyncio.run(ask(relay.url))
        assert relay.up <= 2 * (known + MOST_BYTES) + LOOKING
        assert relay.connections == 1
        before = relay.up
        *_, answer = client.stream(picture, prompt)
        assert isinstance(answer, QueryResponse)
        assert relay.up - before <= known + MOST_BYTES + len("?stream=true")


def test_what_is_used_still_travels(server: Any, picture: np.ndarray) -> None:
    with EdgeClient(server.url, api_key="secret", threads=1) as client:
        client.ask(picture, "how many?", max_new_tokens=8)
    (seen,) = server.seen
    assert set(seen.headers) == {
        *("host", "content-type", "content-length", "idempotency-key", "authorization")
    }
    assert seen.headers["authorization"] == "Bearer secret"
    assert seen.fields["max_new_tokens"] == b"8"
