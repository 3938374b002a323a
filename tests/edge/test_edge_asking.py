"""Small pictures, more of them where the server asks for it, and a line lost between the two."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_client import AsyncEdgeClient, EdgeClient
from edge_client.server.client import FIRST_QUALITY
from edge_client.server.exchange import Attempt
from edge_client.server.protocol import enhancement_of
from edge_client.server.query import AskBack, Query
from edge_client.server.retries import Retries
from edge_client.settings import resolve
from edge_client.spool.store import Spool
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import Overloaded, UpstreamError, UsageError
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement

Cli = Callable[..., Any]
ALWAYS = AskBack(confidence=1.0)
WIDTH, HEIGHT = 256, 160


@pytest.fixture(scope="session")
def asking_url(serve: Callable[..., str], continuing_bundle: Bundle) -> str:
    return serve(bundle=str(continuing_bundle.root))


@pytest.fixture
def client(server: Any, continuing_bundle: Bundle) -> Any:
    with EdgeClient(
        server.url, bundle=continuing_bundle, threads=1, retries=Retries(0), ask_back=AskBack()
    ) as made:
        yield made


def provisional(cells: bytes | None = None, handle: str = "ask_1") -> Any:
    """The reply that asks for two cells."""
    wanted = Cells.at([(1, 2), (1, 3)], WIDTH, HEIGHT, 16).encode() if cells is None else cells
    need = {"handle": handle, "cells": base64.b64encode(wanted).decode(), "quality": 4.0}
    return answer("two, perhaps", 202, need={**need, "expires_in_s": 9.0}, confidence=0.4)


def answer(text: str, status: int = 200, **more: Any) -> Any:
    body = {
        **{"id": "r-1", "answer": text, "model": "tiny", "view": "adapter"},
        "image": {"width": WIDTH, "height": HEIGHT, "bytes": 9, "bpp": 0.1, "codec": "00"},
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "timings_ms": {"decode": 1, "vision": 1, "generate": 1, "total": 3},
    }
    return status, {"content-type": "application/json"}, json.dumps({**body, **more}).encode()


def test_the_real_server_asks_and_gets(
    asking_url: str, continuing_bundle: Bundle, photo: Path
) -> None:
    options: Any = {"bundle": continuing_bundle, "threads": 1, "ask_back": ALWAYS}
    attempt = Attempt(photo, "how many cars?", 4)
    with EdgeClient(asking_url, **options) as client:
        answer = client.attempt(attempt).result()
        assert client.quality == FIRST_QUALITY
    first, second = attempt.rounds
    assert answer.need is None
    assert answer.image.bytes == first + second
    assert second > 0
    assert (attempt.coded, attempt.lost) == (None, None)

    async def again() -> int:
        async with AsyncEdgeClient(asking_url, **options) as client:
            return (await client.ask(photo, "how many cars?", max_new_tokens=4)).image.bytes

    assert asyncio.run(again()) == first + second


def test_the_command_tells_the_bytes_of_both(
    asking_url: str, continuing_bundle: Bundle, photo: Path, cli: Cli
) -> None:
    words = ["send", photo, "how many cars?", "-s", asking_url, "-b", continuing_bundle.root]
    sent = cli(*words, "--ask-back", "--target-confidence", "1")
    assert sent.code == 0, sent.err
    assert "bytes, then" in sent.err
    record = json.loads(cli(*words, "--ask-back", "--target-confidence", "1", "--json").out)
    assert sum(record["rounds"]) == record["image"]["bytes"]
    assert "rounds" not in json.loads(cli(*words, "--json").out)


def test_what_is_asked_for_continues_what_was_sent(client: Any, server: Any, photo: Path) -> None:
    server.replies = [provisional(), answer("two")]
    assert client.ask(photo, "how many?").answer == "two"
    question, enhancement = server.seen
    assert question.fields["ask_back"] == b"1"
    assert "target_confidence" not in question.fields
    assert enhancement.path == "/v1/query/ask_1/enhancement"
    assert "idempotency-key" not in enhancement.headers
    stream = Bitstream.from_bytes(question.streams[0])
    sent = Enhancement.from_bytes(enhancement.streams[0])
    assert (sent.base, sent.quality) == (stream.check, 4.0)
    assert Cells.decode(sent.cells, WIDTH, HEIGHT).chosen.sum() == 2


def test_streams_and_several_pictures_are_not_asked_back(
    client: Any, server: Any, photo: Path
) -> None:
    stream = client.encode(photo)
    for subject in (stream, [photo, photo]):
        client.ask(subject, "how many?")
    assert all("ask_back" not in seen.fields for seen in server.seen)
    assert len(server.seen) == 2


def test_cells_that_are_none_leave_the_provisional_answer(
    client: Any, server: Any, photo: Path
) -> None:
    server.replies = [provisional(b"")]
    attempt = client.attempt(Attempt(photo, "how many?"))
    assert attempt.result().answer == "two, perhaps"
    assert isinstance(attempt.lost, UpstreamError)
    assert not attempt.can_wait


def test_a_line_lost_between_keeps_answer_and_question(
    server: Any, continuing_bundle: Bundle, photo: Path, cli: Cli, problem: Any, tmp_path: Path
) -> None:
    server.replies = [provisional(), problem(503, "overloaded", "busy")]
    words = ["send", photo, "how many?", "-s", server.url, "-b", continuing_bundle.root]
    ended = cli(*words, "--ask-back", "--retries", 0)
    assert (ended.code, ended.out) == (0, "two, perhaps\n")
    assert "provisional" in ended.err
    assert "spool flush" in ended.err
    assert "two, perhaps" in cli("spool", "list").out
    spool = Spool(tmp_path / "xdg-state" / "cotam" / "spool")
    job = spool.read(spool.entries()[0])
    assert (job.query.ask_back, job.provisional) == (AskBack(), "two, perhaps")
    server.seen.clear()
    server.replies = [provisional(handle="ask_2"), answer("two")]
    assert cli("spool", "flush", "-s", server.url).out == f"{photo}\ttwo\n"
    assert server.seen[1].path == "/v1/query/ask_2/enhancement"
    assert server.seen[1].streams == [job.query.enhancement]
    assert not spool.entries()


def test_a_question_whose_time_is_over_ends_provisionally(
    client: Any, server: Any, problem: Any, photo: Path
) -> None:
    server.replies = [provisional(), problem(503, "overloaded", "busy")]
    attempt = client.attempt(Attempt(photo, "how many?"))
    assert isinstance(attempt.lost, Overloaded)
    assert attempt.can_wait
    assert attempt.query is not None
    server.replies = [provisional(), problem(404, "not_found", "no more")]
    assert client.submit(attempt.query).answer == "two, perhaps"
    server.replies = [provisional(), problem(503, "overloaded", "busy")]
    with pytest.raises(Overloaded):
        client.submit(attempt.query)


def test_wishes_that_are_none(cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wish in ({"confidence": 0.0}, {"confidence": 1.5}, {"max_bytes": 0}):
        with pytest.raises(UsageError):
            AskBack(**wish)  # type: ignore[arg-type]
    assert cli("send", photo, "how many?", "--target-confidence", "0.9").code == 2
    assert resolve({}, {"COTAM_ASK_BACK": "yes"}).settings.ask_back == "yes"
    monkeypatch.setenv("COTAM_ASK_BACK", "perhaps")
    assert cli("send", photo, "how many?").code == 2


def test_a_handle_is_no_way_to_other_paths() -> None:
    assert enhancement_of("../../x?y", b"")["url"] == "/v1/query/..%2F..%2Fx%3Fy/enhancement"


def test_a_waiting_question_keeps_its_wish(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    query = Query(b"\xc7T", "hm?", ask_back=AskBack(0.8, 200), enhancement=b"\xc7E")
    assert spool.read(spool.add(query, "a.png")).query == query
    plain = Query(b"\xc7T", "hm?")
    assert spool.read(spool.add(plain, "a.png")).query == plain


def test_a_picture_is_kept_only_where_more_may_be_asked(
    server: Any, continuing_bundle: Bundle, draw: Callable[..., np.ndarray]
) -> None:
    with EdgeClient(server.url, bundle=continuing_bundle, threads=1) as plain:
        attempt = plain.attempt(Attempt(draw(64, 48), "?"), send=False)
    assert attempt.coded is None
    assert attempt.query is not None
    assert attempt.query.ask_back is None
