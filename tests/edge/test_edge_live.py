"""The edge against the real cloud: bitstream up, answer down, errors with their names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_client import AsyncEdgeClient, EdgeClient
from edge_client.server.query import Query
from shared.bundle import Bundle
from shared.errors import BundleUnknown, DecoderMismatch, StreamError, UsageError
from shared.schemas import QueryResponse

Cli = Callable[..., Any]


def test_ask(server_url: str, photo: Path, bundle: Bundle) -> None:
    with EdgeClient(server_url, threads=1) as client:
        size = len(client.encode(photo).to_bytes())
        answer = client.ask(photo, "how many cars?", max_new_tokens=4)
    assert (answer.image.width, answer.image.height, answer.image.bytes) == (256, 160, size)
    assert answer.image.codec == bundle.codec_id.hex()
    assert answer.usage.completion_tokens <= 4
    assert answer.view == "adapter"


def test_ask_in_an_event_loop(server_url: str, photo: Path) -> None:
    async def width_seen() -> int:
        async with AsyncEdgeClient(server_url, threads=1) as client:
            return (await client.ask(photo, "what is it?", max_new_tokens=2)).image.width

    assert asyncio.run(width_seen()) == 256


def test_command_line(server_url: str, photo: Path, cli: Cli) -> None:
    completed = cli("send", photo, "how many cars?", "--server", server_url, "--json")
    assert completed.code == 0, completed.err
    assert json.loads(completed.out)["image"]["width"] == 256


def test_what_the_server_refuses(
    server_url: str, draw: Callable[..., np.ndarray], bundle: Bundle
) -> None:
    with EdgeClient(server_url, threads=1) as client:
        stream = client.encode(draw(64, 48))
        for forged, error in (
            (replace(stream, check=stream.check ^ 1).to_bytes(), DecoderMismatch),
            (replace(stream, codec_id=b"none").to_bytes(), BundleUnknown),
            (stream.to_bytes()[:-1], StreamError),
            (b"\xff\xd8\xff\xe0 a photo as it is", StreamError),
        ):
            with pytest.raises(error) as caught:
                client.submit(Query(forged, "what is it?"))
            assert caught.value.request_id
            if isinstance(caught.value, BundleUnknown):
                assert bundle.hex_id in str(caught.value)


def test_offline_then_flush(server_url: str, photo: Path, cli: Cli) -> None:
    assert cli("send", photo, "?", "-s", "http://127.0.0.1:9", "--retries", 0).code == 4
    flushed = cli("spool", "flush", "--server", server_url)
    assert flushed.code == 0, flushed.err
    assert flushed.out.startswith(str(photo))


def test_an_answer_as_it_grows(server_url: str, photo: Path) -> None:
    with EdgeClient(server_url, threads=1) as client:
        *pieces, last = client.stream(photo, "how many cars?", max_new_tokens=6)
        assert isinstance(last, QueryResponse)
        assert "".join(map(str, pieces)).strip() == last.answer.strip()
        assert client.ask(photo, "how many cars?", max_new_tokens=6).answer == last.answer

    async def texts() -> list[Any]:
        async with AsyncEdgeClient(server_url, threads=1) as client:
            return [x async for x in client.stream(photo, "how many cars?", max_new_tokens=6)]

    assert asyncio.run(texts())[-1].answer == last.answer
    with EdgeClient(server_url, threads=1) as client, pytest.raises(UsageError):
        list(client.stream(photo, ""))


def test_the_same_job_twice_is_answered_once(server_url: str, photo: Path) -> None:
    with EdgeClient(server_url, threads=1) as client:
        question = Query(client.encode(photo).to_bytes(), "how many cars?")
        assert client.submit(question).id == client.submit(question).id
