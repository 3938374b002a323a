"""The way of an answer from the thread that makes it to who reads it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cloud_server.inference.async_sink import AsyncSink
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.work import Work
from shared.errors import UpstreamError
from tests.cloud.listener import Listener

ANSWER = Answer("two cars", 9, 2, "stop")


def test_pieces_come_in_order_from_another_thread() -> None:
    async def story() -> tuple[list[str], Answer | None]:
        sink = AsyncSink(streams=True)
        work = Work(None, "hm?", 9, sink=sink)

        def answer() -> None:
            work.text("two ")
            work.text("cars")
            work.finish(ANSWER)
            work.finish(UpstreamError("too late to be told"))

        thread = threading.Thread(target=answer)
        thread.start()
        pieces = [piece async for piece in sink.pieces()]
        thread.join()
        assert work.error is None
        assert work.text_sent
        return pieces, work.answer

    assert asyncio.run(story()) == (["two ", "cars"], ANSWER)


def test_a_deadline_that_is_over_still_gives_what_is_there() -> None:
    async def story() -> None:
        sink = AsyncSink(streams=True)
        sink.text("two")
        await asyncio.sleep(0)
        pieces = sink.pieces(until=0.0)
        assert await anext(pieces) == "two"
        with pytest.raises(asyncio.TimeoutError):
            await anext(pieces)

    asyncio.run(story())


def test_what_fails_is_raised_where_the_pieces_are_read() -> None:
    async def story() -> None:
        sink = AsyncSink(streams=False)
        assert not sink.stopped()
        sink.stop()
        assert sink.stopped()
        sink.fail(UpstreamError("gone"))
        async for _ in sink.pieces():
            pytest.fail("nothing was said")

    with pytest.raises(UpstreamError, match="gone"):
        asyncio.run(story())


def test_a_loop_that_has_ended_hears_nothing() -> None:
    async def make() -> AsyncSink:
        return AsyncSink(streams=True)

    sink = asyncio.run(make())
    sink.text("two")
    sink.finish(ANSWER)


def test_a_work_passes_on_what_it_keeps() -> None:
    listener = Listener()
    work = Work(None, "hm?", 9, sink=listener)
    work.finish(UpstreamError("broken"))
    assert isinstance(work.error, UpstreamError)
    assert listener.outcome is work.error
    assert work.answer is None
