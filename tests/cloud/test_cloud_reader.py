"""The reader of print as a model: a stream of a receipt is answered with what stands on it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.mllm.rapidocr import FOUND, NOTHING
from cloud_server.inference.work import Nobody, Work
from edge_client.coding.encoder import Encoder
from evaluation.judges.reading import fold
from examples.receipt import draw_receipt, read_receipt
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import UsageError

Serve = Callable[..., str]
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


def test_what_stands_side_by_side_is_one_row(engine: Engine, bundle: Bundle) -> None:
    image = Image.new("RGB", (320, 160), "white")
    for x, y, text in ((20, 20, "Milk"), (220, 22, "2.50"), (20, 90, "Honey"), (220, 88, "7.10")):
        ImageDraw.Draw(image).text((x, y), text, (20, 20, 24), ImageFont.load_default(34))
    stream = Encoder(bundle).analyse(np.asarray(image), False).code(7.0)
    assert asked(engine, stream, "?").text == f"{FOUND}\nMilk  2.50\nHoney  7.10"


def test_it_tells_the_resolution_that_it_wants(engine: Engine, bundle: Bundle) -> None:
    info = engine.model()
    assert (info.id, info.view, info.resolution) == ("rapidocr", "picture", 768)
    assert info.resolution > bundle.manifest.resolution


def test_a_picture_without_print_is_said_to_have_none(engine: Engine, bundle: Bundle) -> None:
    grey = Encoder(bundle).analyse(np.full((64, 96, 3), 128, np.uint8)).code(3.0)
    answer = asked(engine, grey, "what is this?")
    assert answer.text == NOTHING
    engine.warm_up()


def test_a_receipt_that_is_drawn_is_read_by_a_server(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = read_receipt(serve(mllm="rapidocr"))
    page = draw_receipt()
    total = page.questions[0].answer
    assert total in answer
    assert total in capsys.readouterr().out
    folded = fold(answer)
    read = [line.text for line in page.lines if fold(line.text) in folded]
    assert len(read) > 0.8 * len(page.lines)


def test_without_its_package_it_says_what_to_install(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(UsageError, match="rapidocr-onnxruntime cannot be imported") as raised:
        Engine([bundle], "rapidocr", "cpu", 1)
    assert "cotam[reading]" in (raised.value.hint or "")
