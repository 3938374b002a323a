"""The reader of print as a model: a stream of a receipt is answered with what stands on it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.mllm.rapidocr import FOUND, NOTHING
from cloud_server.inference.work import Nobody, Work
from edge_client.coding.encoder import Encoder
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import UsageError

PRINT = ("CORNER MARKET", "Green tea 3.20", "TOTAL 42.17")


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine([bundle], "rapidocr", "cpu", 1)


@pytest.fixture(scope="module")
def receipt(bundle: Bundle) -> Bitstream:
    """A receipt as the edge sends it."""
    image = Image.new("RGB", (320, 240), (246, 244, 238))
    for row, text in enumerate(PRINT):
        place = (30, 30 + 64 * row)
        ImageDraw.Draw(image).text(place, text, (30, 30, 34), ImageFont.load_default(30))
    return Encoder(bundle).analyse(np.asarray(image)).code(6.0)


class Listener(Nobody):
    """Keeps what it is told."""

    streams = True

    def __init__(self) -> None:
        self.said: list[str] = []

    def text(self, piece: str) -> None:
        self.said.append(piece)


def asked(engine: Engine, stream: Bitstream, prompt: str, most: int = 64) -> Answer:
    listener = Listener()
    work = Work(stream, prompt, most, sink=listener)
    engine.run([work])
    assert work.answer is not None
    assert "".join(listener.said) == work.answer.text
    return work.answer


def test_any_question_is_answered_with_the_print(engine: Engine, receipt: Bitstream) -> None:
    answers = {asked(engine, receipt, q) for q in ("what is the total?", "how many cars?")}
    (answer,) = answers
    first, *lines = answer.text.split("\n")
    assert first == FOUND
    read = " ".join(lines).replace(" ", "")
    for text in PRINT:
        assert text.replace(" ", "") in read
    assert answer.finish == "stop"


def test_an_answer_is_cut_at_whole_lines(engine: Engine, receipt: Bitstream) -> None:
    answer = asked(engine, receipt, "what does it say?", 2)
    assert (answer.text.count("\n"), answer.completion_tokens, answer.finish) == (1, 2, "length")


def test_it_tells_the_resolution_that_it_wants(engine: Engine, bundle: Bundle) -> None:
    info = engine.model()
    assert (info.id, info.view, info.resolution) == ("rapidocr", "picture", 768)
    assert info.resolution > bundle.manifest.resolution


def test_a_picture_without_print_is_said_to_have_none(engine: Engine, bundle: Bundle) -> None:
    grey = Encoder(bundle).analyse(np.full((64, 96, 3), 128, np.uint8)).code(3.0)
    answer = asked(engine, grey, "what is this?")
    assert answer.text == NOTHING
    engine.warm_up()


def test_without_its_package_it_says_what_to_install(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(UsageError, match="rapidocr-onnxruntime cannot be imported") as raised:
        Engine([bundle], "rapidocr", "cpu", 1)
    assert "cotam[reading]" in (raised.value.hint or "")
