"""The road of a question, where it bends: refused bundles, streams that are there already."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_client import AsyncEdgeClient, EdgeClient
from edge_client.server.client import Retries
from edge_client.server.exchange import Attempt
from edge_client.spool.store import Spool
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import BundleUnknown, Overloaded, PictureError, ServerUnreachable, StreamError
from shared.schemas import QueryResponse

Cli = Callable[..., Any]


@pytest.fixture
def refusal(other: Bundle, problem: Any) -> Any:
    """What a server says of a bundle that it lacks."""
    return problem(409, "bundle_unknown", "not here", bundles=[other.hex_id])


def sent(server: Any) -> list[Bitstream]:
    return [Bitstream.from_bytes(seen.fields["bitstream"]) for seen in server.seen]


def test_another_bundle_means_another_resolution(
    store: Any, refusal: Any, other: Bundle, photo: Path
) -> None:
    store.replies = [refusal]
    with EdgeClient(store.url, threads=1) as client:
        assert client.ask(photo, "how large?").answer == "128 by 80"
        with photo.open("rb") as file:  # can be read once
            store.replies = [refusal]
            client.use(Bundle.open(client.bundle.root))
            assert client.ask(file, "how large?").answer == "128 by 80"

    async def ask() -> str:
        async with AsyncEdgeClient(store.url, threads=1) as client:
            return (await client.ask(io.BytesIO(photo.read_bytes()), "how large?")).answer

    store.replies = [refusal]
    assert asyncio.run(ask()) == "128 by 80"
    assert {stream.width for stream in sent(store) if stream.codec_id == other.codec_id} == {128}


def test_threads_that_are_refused_together_agree_once(
    store: Any, refusal: Any, other: Bundle, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = store.answer

    def knows_one_codec(seen: Any) -> Any:
        known = Bitstream.from_bytes(seen.fields["bitstream"]).codec_id == other.codec_id
        return answer(seen) if known else refusal

    monkeypatch.setattr(store, "answer", knows_one_codec)
    with EdgeClient(store.url, threads=1) as client:
        answers = list(client.ask_many([photo] * 6, "how large?", concurrency=3))
    assert [a.answer for a in answers if isinstance(a, QueryResponse)] == ["128 by 80"] * 6


def test_the_command_line_takes_the_same_road(
    store: Any, refusal: Any, other: Bundle, cli: Cli, photo: Path
) -> None:
    store.replies = [refusal]
    assert cli("send", photo, "how large?", "-s", store.url).out == "128 by 80\n"


def test_what_waits_is_what_was_coded_last(
    store: Any, refusal: Any, problem: Any, other: Bundle, cli: Cli, photo: Path, tmp_path: Path
) -> None:
    store.replies = [refusal, problem(503, "overloaded", "busy")]
    kept = tmp_path / "kept.cotam"
    ended = cli(
        *("send", photo, "how large?", "-s", store.url, "--retries", 0, "--save-bitstream", kept)
    )
    assert ended.code == 6
    spool = Spool(tmp_path / "xdg-state" / "cotam" / "spool")
    (entry,) = spool.entries()
    assert spool.read(entry).query.stream == kept.read_bytes()
    assert Bitstream.from_bytes(kept.read_bytes()).codec_id == other.codec_id
    assert cli("spool", "flush", "-s", store.url).out == f"{photo}\t128 by 80\n"


def test_an_answer_that_grows_agrees_on_a_bundle_as_well(
    store: Any, refusal: Any, problem: Any, photo: Path
) -> None:
    def grown() -> Any:
        whole = {
            **{"id": "r-1", "answer": "two", "model": "tiny", "view": "adapter"},
            "image": {"width": 128, "height": 80, "bytes": 9, "bpp": 0.1, "codec": "00"},
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
            "timings_ms": {"decode": 1, "vision": 1, "generate": 1, "total": 3},
        }
        body = f'event: text\ndata: {{"text": "two"}}\n\nevent: done\ndata: {json.dumps(whole)}\n\n'
        return 200, {"content-type": "text/event-stream"}, body.encode()

    busy = problem(503, "overloaded", "busy", retry_after=0)
    store.replies = [busy, refusal, grown()]
    with EdgeClient(store.url, threads=1, retries=Retries(1, base=0.0)) as client:
        *pieces, answer = client.stream(photo, "how many?")
    assert pieces == ["two"]
    assert isinstance(answer, QueryResponse)

    async def texts() -> list[Any]:
        async with AsyncEdgeClient(store.url, threads=1) as client:
            return [piece async for piece in client.stream(photo, "how many?")]

    store.replies = [refusal, grown()]
    assert len(asyncio.run(texts())) == 2
    assert [stream.width for stream in sent(store)] == [256, 256, 128, 256, 128]


def test_a_server_that_leaves_while_bundles_are_agreed_on(
    server: Any, refusal: Any, problem: Any, photo: Path
) -> None:
    """The question can wait: it is not lost for having been refused before."""
    server.replies = [refusal]
    with EdgeClient(server.url, threads=1, retries=Retries(0)) as client:
        attempt = Attempt(photo, "anyone?")
        server.pages["/v1/models"] = b"{"
        client.attempt(attempt)
    assert attempt.can_wait
    assert attempt.query is not None


def test_an_attempt_tells_how_far_it_came(server: Any, problem: Any, photo: Path) -> None:
    with EdgeClient(server.url, threads=1, retries=Retries(0)) as client:
        whole = client.attempt(Attempt(photo, "?"))
        assert whole.stream is not None
        assert (whole.result().image.width, whole.error) == (256, None)
        coded = client.attempt(Attempt(photo, "?"), send=False)
        assert (coded.stream, coded.answer, len(server.seen)) == (whole.stream, None, 1)
        bad = client.attempt(Attempt(b"no picture", "?", name="that file"))
        assert bad.stream is None
        with pytest.raises(PictureError, match="that file"):
            bad.result()
        server.replies = [problem(503, "overloaded", "busy")]
        busy = client.attempt(Attempt(photo, "?"))
        assert isinstance(busy.outcome, Overloaded)
        assert busy.can_wait
        assert not bad.can_wait


def test_a_stream_is_sent_as_it_is(server: Any, cli: Cli, photo: Path, refusal: Any) -> None:
    assert cli("encode", photo, "-q", "7").code == 0
    path = photo.with_suffix(".cotam")
    data = path.read_bytes()
    assert cli("send", path, "how large?", "-s", server.url).out == "256 by 160\n"
    assert cli("send", "-", "how large?", "-s", server.url, stdin=data).out == "256 by 160\n"
    with EdgeClient(server.url, threads=1) as client:
        for subject in (path, str(path), data, Bitstream.from_bytes(data), io.BytesIO(data)):
            assert client.ask(subject, "how large?").answer == "256 by 160"
        server.replies = [refusal]
        with pytest.raises(BundleUnknown):
            client.ask(path, "and not as another one?")
        with pytest.raises(StreamError):
            client.ask(data[:-1], "?")
    assert {seen.fields["bitstream"] for seen in server.seen} == {data}


def test_streams_that_are_none(cli: Cli, photo: Path, tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("foreign", b"no stream"), ("cut", b"\xc7T\x05")):
        path = tmp_path / f"{name}.cotam"
        path.write_bytes(data)
        ended = cli("send", path, "?")
        assert (ended.code, ended.err.count("\n")) == (1, 1), ended.err
    ended = cli("send", tmp_path / "none.cotam", "?")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err


def test_nobody_there(photo: Path) -> None:
    with (
        EdgeClient("http://127.0.0.1:9", threads=1, retries=Retries(0)) as client,
        pytest.raises(ServerUnreachable),
    ):
        client.agree()
