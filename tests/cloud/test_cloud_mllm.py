"""Language models: batches, views, other classes, and what never leaks from one to another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.base import Answer
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.load import Weights
from cloud_server.inference.work import Work
from cloud_server.inference.worker import Worker
from edge_client.coding.encoder import Encoder
from shared.bitstream import Bitstream
from shared.bundle import Bundle, embedded
from shared.errors import CotamError, DecoderMismatch, FieldInvalid, UpstreamError, UsageError
from tests.cloud.listener import Listener

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPTS = ("how many cars?", "is it a beach?", "what does the small sign say?")


@pytest.fixture(scope="module")
def engine(bundle: Bundle, talkative: Path) -> Engine:
    return Engine([bundle], str(talkative), "cpu", 1)


def test_a_batch_gets_the_answers_of_one_by_one(engine: Engine, streams: list[bytes]) -> None:
    together = _works(streams, PROMPTS, (3, 9, 6))
    engine.run(together)
    alone = _works(streams, PROMPTS, (3, 9, 6))
    for work in alone:
        engine.run([work])
    answers = [work.answer for work in together]
    assert answers == [work.answer for work in alone]
    assert [answer.completion_tokens for answer in answers if answer] == [3, 9, 6]
    assert len({answer.text for answer in answers if answer}) == 3


def test_the_answer_depends_on_picture_and_question(engine: Engine, streams: list[bytes]) -> None:
    works = _works([*streams[:2], streams[0]], (PROMPTS[0], PROMPTS[0], PROMPTS[1]), (8, 8, 8))
    engine.run(works)
    texts = [work.answer.text for work in works if work.answer]
    assert len(set(texts)) == 3


def test_one_bad_request_leaves_the_batch_alone(engine: Engine, streams: list[bytes]) -> None:
    good = _works(streams, PROMPTS, (4, 4, 4))
    engine.run(good)
    works = _works(streams, (PROMPTS[0], "a <image> too many", PROMPTS[2]), (4, 4, 4))
    good_stream = Bitstream.from_bytes(streams[0])
    works[0].stream = Bitstream(**{**vars(good_stream), "check": good_stream.check ^ 1})
    engine.run(works)
    assert isinstance(works[0].error, DecoderMismatch)
    assert isinstance(works[1].error, FieldInvalid)
    assert works[2].answer == good[2].answer


def test_a_seen_picture_is_not_decoded_again(engine: Engine, stream: bytes) -> None:
    (first,) = _works([stream], PROMPTS[:1], (5,))
    engine.run([first])
    again = Work(None, PROMPTS[0], 5, visual=first.visual)
    engine.run([again])
    assert again.answer == first.answer
    assert again.times["decode"] == again.times["vision"] == 0


def test_streams_of_both_shipped_bundles_are_answered_by_one_model(bundle: Bundle) -> None:
    bundles = [bundle, embedded("tiny-joint")]
    engine = Engine(bundles, "", "cpu", 1)
    picture = np.asarray(Image.open(EXAMPLES / "street.png").convert("RGB"))
    asked = json.loads((EXAMPLES / "questions.json").read_text())["street"][0]
    streams = [Encoder(each, threads=1).analyse(picture).code(6.0).to_bytes() for each in bundles]
    works = _works(streams, [asked["prompt"]] * 2, (4, 4))
    engine.run(works)
    assert [work.answer.text for work in works if work.answer] == [asked["answer"]] * 2
    assert [work.visual.view for work in works if work.visual] == ["adapter"] * 2
    assert streams[0] != streams[1]


def test_pieces_make_the_answer_and_a_stop_ends_it(engine: Engine, streams: list[bytes]) -> None:
    whole, cut = _works(streams[:2], PROMPTS[:2], (8, 8))
    whole.sink = listener = Listener()
    calls = iter([False, False, False, True])
    cut.sink = Listener(stopped=lambda: next(calls))
    engine.run([whole, cut])
    assert whole.answer
    assert cut.answer
    assert len(listener.pieces) > 1
    assert "".join(listener.pieces) == whole.answer.text
    assert (cut.answer.completion_tokens, cut.answer.finish) == (2, "stop")


def test_a_short_answer_does_not_wait_for_a_long_one(engine: Engine, streams: list[bytes]) -> None:
    short, long = _works(streams[:2], PROMPTS[:2], (2, 12))
    order: list[str] = []
    short.sink = Listener(on_finish=lambda: order.append("short"))
    long.sink = Listener(
        on_text=lambda: order.append("text"), on_finish=lambda: order.append("long")
    )
    engine.run([short, long])
    assert order.count("short") == order.count("long") == 1
    assert order.index("short") < order.index("long") - 3


def test_adapter_tokens_reach_the_tower_and_leave_no_hook(
    engine: Engine, bundle: Bundle, stream: bytes
) -> None:
    backend = engine.backend
    assert isinstance(backend, ImageText)
    assert backend.view(bundle.id) == "adapter"
    decoded = engine._decoders[bundle.codec_id].decode(Bitstream.from_bytes(stream))
    adapted = backend.see([decoded])[0]
    assert adapted.view == "adapter"
    unknown = backend.see([_of_another_bundle(decoded)])[0]
    assert unknown.view == "picture"
    assert not torch.equal(adapted.content.features, unknown.content.features)
    mixed = backend.see([_of_another_bundle(decoded), decoded])
    for visual, alone in zip(mixed, (unknown, adapted), strict=True):
        torch.testing.assert_close(
            visual.content.features, alone.content.features, atol=1e-4, rtol=1e-4
        )
    assert not backend.tower.vision.embeddings._forward_hooks


def test_a_tower_without_adapter_sees_the_picture(
    bundle: Bundle, stranger: Path, stream: bytes
) -> None:
    engine = Engine([bundle], str(stranger), "cpu", 1)
    assert isinstance(engine.backend, ImageText)
    (work,) = _works([stream], PROMPTS[:1], (5,))
    engine.run([work])
    assert work.visual
    assert work.answer
    assert work.visual.view == "picture"
    assert work.answer.completion_tokens == 5


def test_another_class_of_model_answers(bundle: Bundle, qwen: Path, streams: list[bytes]) -> None:
    engine = Engine([bundle], str(qwen), "cpu", 1)
    assert isinstance(engine.backend, ImageText)
    together = _works(streams, PROMPTS, (4, 6, 5))
    engine.run(together)
    alone = _works(streams, PROMPTS, (4, 6, 5))
    for work in alone:
        engine.run([work])
    assert [work.error for work in together] == [None] * 3
    assert [work.answer for work in together] == [work.answer for work in alone]
    assert {work.visual.view for work in together if work.visual} == {"picture"}


def test_weights_in_bfloat16(bundle: Bundle, talkative: Path, stream: bytes) -> None:
    engine = Engine([bundle], str(talkative), "cpu", 1, weights=Weights("bfloat16"))
    backend = engine.backend
    assert isinstance(backend, ImageText)
    assert {p.dtype for p in backend._model.parameters()} == {torch.bfloat16}
    (work,) = _works([stream], PROMPTS[:1], (4,))
    engine.run([work])
    assert work.visual
    assert work.answer
    assert (work.visual.view, work.answer.completion_tokens) == ("adapter", 4)


@pytest.mark.parametrize(("how", "stored"), [("int8", torch.int8), ("nf4", torch.uint8)])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_quantised_layers_leave_the_tower_alone(
    bundle: Bundle, talkative: Path, stream: bytes, how: str, stored: torch.dtype
) -> None:
    pytest.importorskip("bitsandbytes")
    weights = Weights("float32", how)  # type: ignore[arg-type]
    engine = Engine([bundle], str(talkative), "cpu", 1, weights=weights)
    backend = engine.backend
    assert isinstance(backend, ImageText)
    kinds = {name: p.dtype for name, p in backend._model.named_parameters()}
    layers = [name for name, kind in kinds.items() if kind == stored]
    assert all(name.startswith("model.language_model.layers.") for name in layers)
    assert len(layers) == 7 * backend._model.config.text_config.num_hidden_layers
    plain = Engine([bundle], str(talkative), "cpu", 1)
    works = _works([stream, stream], (PROMPTS[0], PROMPTS[0]), (4, 4))
    engine.run(works[:1])
    plain.run(works[1:])
    assert [work.error for work in works] == [None, None]
    seen = [work.visual.content.features for work in works if work.visual]
    torch.testing.assert_close(seen[0], seen[1])
    assert [w.answer.completion_tokens for w in works if w.answer] == [4, 4]


def test_it_answers_over_http_too(serve, qwen: Path, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    url = serve(mllm=str(qwen))
    response = httpx.post(
        f"{url}/v1/query",
        files={"bitstream": stream},
        data={"prompt": "what is this?", "max_new_tokens": "4"},
        timeout=300,
    )
    answer = response.json()
    assert (answer["model"], answer["view"]) == ("qwen", "picture")
    assert answer["usage"]["completion_tokens"] == 4


def test_no_model_at_that_place(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no language model to load"):
        Engine([bundle], str(tmp_path), "cpu", 1)


def test_a_dead_model_is_found_out(bundle: Bundle, stranger: Path, stream: bytes) -> None:
    engine = Engine([bundle], str(stranger), "cpu", 1)
    deaths: list[Exception] = []
    worker = Worker(lambda: engine, 2, deaths.append)
    worker.load()
    try:
        backend = engine.backend
        assert isinstance(backend, ImageText)
        head = backend._model.lm_head
        backend._model.lm_head = None
        for _ in range(4):
            (work,) = _works([stream], PROMPTS[:1], (2,))
            assert isinstance(_outcome(worker, work), UpstreamError)
        backend._model.lm_head = head
        (work,) = _works([stream], PROMPTS[:1], (2,))
        assert isinstance(_outcome(worker, work), Answer)
        backend._model.lm_head = None
        for _ in range(5):
            (work,) = _works([stream], PROMPTS[:1], (2,))
            _outcome(worker, work)
    finally:
        worker.close()
    assert len(deaths) == 1


def test_an_engine_that_raises_by_itself_leaves_nobody_waiting(
    engine: Engine, streams: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths: list[Exception] = []
    worker = Worker(lambda: engine, 2, deaths.append)
    worker.load()
    fault = RuntimeError("as a mistake of ours would")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_alike", lambda batch: (_ for _ in ()).throw(fault))
            (work,) = _works(streams[:1], PROMPTS[:1], (2,))
            assert isinstance(_outcome(worker, work), UpstreamError)
        (work,) = _works(streams[:1], PROMPTS[:1], (2,))
        assert isinstance(_outcome(worker, work), Answer)
    finally:
        worker.close()
    assert deaths == [fault]


def test_text_that_was_handed_out_is_not_said_again(engine: Engine, streams: list[bytes]) -> None:
    first, second = _works(streams[:2], PROMPTS[:2], (8, 8))
    first.sink = listener = Listener()

    def crash() -> bool:
        if len(listener.pieces) > 1:
            raise RuntimeError("as a GPU would")
        return False

    second.sink = Listener(stopped=crash)
    engine.run([first, second])
    assert isinstance(first.error, UpstreamError)
    assert len(listener.pieces) == 2


def _outcome(worker: Worker, work: Work) -> Answer | CotamError | None:
    work.sink = listener = Listener()
    worker.submit(work)
    assert listener.finished.wait(300)
    return listener.outcome


def _works(streams: Sequence[bytes], prompts: Sequence[str], counts: Sequence[int]) -> list[Work]:
    return [
        Work(Bitstream.from_bytes(stream), prompt, count)
        for stream, prompt, count in zip(streams, prompts, counts, strict=True)
    ]


def _of_another_bundle(decoded):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(decoded, bundle_id=b"none")
