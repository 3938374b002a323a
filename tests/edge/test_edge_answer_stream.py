"""Answers that grow: what is made of server-sent events, whole and broken."""

from __future__ import annotations

import pytest

from edge_client.server.answer_stream import AnswerReader
from shared.errors import CotamError, Overloaded, UpstreamError


def read(text: str) -> list[object]:
    reader = AnswerReader()
    events = [reader.feed(line) for line in text.split("\n")]
    reader.finish()
    return [event for event in events if event is not None]


def test_pieces_and_comments() -> None:
    reader = AnswerReader()
    lines = [": a comment", "event: text", 'data: {"text": "two"}', "", "event: new", "data: x", ""]
    assert [reader.feed(line) for line in lines] == [None, None, None, "two", None, None, None]
    with pytest.raises(UpstreamError, match="broke off"):
        reader.finish()


def test_an_error_in_the_midst() -> None:
    problem = '{"type": "", "title": "", "status": 503, "detail": "busy", "code": "overloaded"}'
    with pytest.raises(Overloaded, match="busy"):
        read(f"event: error\ndata: {problem}\n\n")


@pytest.mark.parametrize("data", ["", "3", "{}", '{"text"', "[]"])
@pytest.mark.parametrize("name", ["text", "done", "error"])
def test_events_of_another_form(name: str, data: str) -> None:
    with pytest.raises(CotamError, match="another form"):
        read(f"event: {name}\ndata: {data}\n\n")
