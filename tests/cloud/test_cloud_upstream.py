"""A language model behind another server: a small real one that speaks chat completions."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from cloud_server.inference.clip import Clip, ClipFrame
from cloud_server.inference.decoder import Decoder
from cloud_server.inference.engine import Engine
from cloud_server.inference.mllm.base import Answer, GenerationRequest, Turn, VisualInput
from cloud_server.inference.mllm.circuit import Circuit
from cloud_server.inference.mllm.upstream import Upstream, UpstreamOptions
from cloud_server.inference.work import Work
from cloud_server.routes.schemas import DATA_URL
from cloud_server.service import Service
from cloud_server.settings import load_settings
from edge_client.coding.clip_coder import ClipCoder, ClipOptions
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.clips import ALL
from scenes import Backgrounds
from scenes.motion import render_track
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import CotamError, NotReady, UpstreamError, UsageError
from shared.frames import MEDIA_TYPE as CLIP_TYPE
from shared.query_body import join_body
from tests.cloud.listener import Listener
from tests.upstreaming import PATIENCE_S, Stub, small_upstream

Serve = Callable[..., str]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with small_upstream() as stub:
        yield stub


def backend(stub: Stub, pauses: list[float], **options: Any) -> Upstream:
    return Upstream(stub.url, UpstreamOptions(**options), Circuit(4, 10.0), pauses.append)


def asked(engine: Engine, stream: bytes, *prompts: str) -> list[Work]:
    works = [Work(Bitstream.from_bytes(stream), prompt, 9) for prompt in prompts]
    engine.run(works)
    return works


@pytest.fixture
def engine(bundle: Bundle, stub: Stub) -> Engine:
    return Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(key="secret"))


def test_it_gets_the_decoded_picture(
    engine: Engine, bundle: Bundle, stub: Stub, stream: bytes
) -> None:
    listener = Listener()
    work = Work(Bitstream.from_bytes(stream), "how many cars?", 9, sink=listener)
    engine.run([work])
    assert work.answer
    assert work.answer.text == "".join(listener.pieces) == "how many cars?"
    assert work.answer.finish == "length"
    assert (work.answer.prompt_tokens, work.answer.completion_tokens) == (7, 3)
    (body,) = stub.asked
    assert (body["model"], body["max_tokens"], stub.keys) == ("large", 9, ["Bearer secret"])
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    png = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    decoded = Decoder(bundle, torch.device("cpu")).decode(Bitstream.from_bytes(stream))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), decoded.picture)


def test_it_is_as_sure_as_the_upstream_says(engine: Engine, stub: Stub, stream: bytes) -> None:
    (work,) = asked(engine, stream, "how many cars?")
    assert work.answer
    assert work.answer.sureness == pytest.approx(math.exp(-0.3))
    assert work.answer.looked is None


def test_an_upstream_without_probabilities_is_asked_without(
    engine: Engine, stub: Stub, stream: bytes
) -> None:
    stub.tells = False
    for _ in range(2):
        (work,) = asked(engine, stream, "how many cars?")
        assert work.answer
        assert (work.answer.text, work.answer.sureness) == ("how many cars?", None)
    assert ["logprobs" in body for body in stub.asked] == [True, False, False]


def test_it_gets_several_pictures_each_with_its_turn(
    engine: Engine, stub: Stub, streams: list[bytes]
) -> None:
    first, *others = (Work(Bitstream.from_bytes(stream)) for stream in streams)
    first.prompt, first.max_new_tokens, first.others = "and now?", 9, tuple(others)
    first.history = (Turn("user", "which is newer?", 2), Turn("assistant", "the first"))
    engine.run([first])
    assert first.answer
    (body,) = stub.asked
    kinds = [[part["type"] for part in message["content"]] for message in body["messages"]]
    assert kinds == [["image_url", "image_url", "text"], ["text"], ["image_url", "text"]]
    urls = [
        part["image_url"]["url"]
        for message in body["messages"]
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    sizes = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size for url in urls]
    assert sizes == [(256, 256), (256, 170), (100, 256)]


def test_it_gets_the_frames_of_a_clip_as_pictures(
    serve: Serve, bundle: Bundle, stub: Stub, tmp_path: Path
) -> None:
    """In their order, each as it is decoded; the model behind it is asked once."""
    track = render_track("test", 5, Backgrounds.builtin(), (128, 96), frames=3)
    for number, picture in enumerate(track.pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    coder = PictureCoder(bundle, quality=3.0, threads=1)
    clip = ClipCoder(coder, ClipOptions(ALL)).encode(str(tmp_path))
    body = join_body("did anyone come in?", [clip.data])
    url = serve(mllm=stub.url)
    headers = {"content-type": CLIP_TYPE}
    answered = httpx.post(f"{url}/v1/query", content=body, headers=headers, timeout=300).json()
    assert (answered["answer"], answered["view"]) == ("did anyone come in?", "picture")
    assert [image["bytes"] for image in answered["images"]] == [frame.size for frame in clip.frames]
    (message,) = stub.asked[-1]["messages"]
    *pictures, text = message["content"]
    assert text == {"type": "text", "text": "did anyone come in?"}
    shown = [_opened(part["image_url"]["url"]) for part in pictures]
    decoder, frames = Decoder(bundle, torch.device("cpu")), Clip(clip.data)
    wanted = [decoder.decode(ClipFrame(frames, index)).picture for index in range(3)]
    assert len(shown) == 3
    assert all(
        np.array_equal(picture, expected) for picture, expected in zip(shown, wanted, strict=True)
    )
    assert not np.array_equal(shown[0], shown[2])


def _opened(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_small_server_speaks_the_real_protocol(stub: Stub) -> None:
    openai = pytest.importorskip("openai")
    content = [{"type": "text", "text": "a picture"}, {"type": "text", "text": "what now"}]
    with openai.OpenAI(base_url=stub.url, api_key="secret", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["large"]
        *chunks, last = client.chat.completions.create(
            model="large", messages=[{"role": "user", "content": content}], stream=True
        )
    assert [c.choices[0].delta.content for c in chunks] == [" what", " now", None]
    assert (chunks[-1].choices[0].finish_reason, last.usage.completion_tokens) == ("length", 3)
    assert stub.keys == ["Bearer secret"]


def test_it_gets_features_where_it_takes_them(
    bundle: Bundle, stub: Stub, talkative: Path, stranger: Path, stream: bytes
) -> None:
    engine = Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(tower=str(talkative)))
    assert engine.backend.view(bundle.id) == "adapter"
    (work,) = asked(engine, stream, "how many cars?")
    assert work.visual
    assert work.answer
    assert (work.visual.view, work.answer.text) == ("adapter", "how many cars?")
    part = stub.asked[0]["messages"][0]["content"][0]
    assert part["type"] == "image_embeds"
    sent = torch.load(io.BytesIO(base64.b64decode(part["image_embeds"])), weights_only=True)
    local = Engine([bundle], str(talkative), "cpu", 1)
    (same,) = asked(local, stream, "how many cars?")
    assert same.visual
    torch.testing.assert_close(sent, same.visual.content.features)
    other = Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(tower=str(stranger)))
    assert other.backend.view(bundle.id) == "picture"


def test_a_tower_that_is_none(bundle: Bundle, stub: Stub, qwen: Path, tmp_path: Path) -> None:
    for folder, message in ((qwen, "is a qwen2_vl"), (tmp_path, "no vision tower")):
        with pytest.raises(UsageError, match=message):
            Engine([bundle], stub.url, "cpu", 1, UpstreamOptions(tower=str(folder)))


def test_a_batch_is_asked_at_once(engine: Engine, stream: bytes) -> None:
    works = asked(engine, stream, "one", "two", "three")
    assert [work.answer.text for work in works if work.answer] == ["one", "two", "three"]


def test_a_short_answer_does_not_wait_for_a_long_one(
    engine: Engine, stub: Stub, stream: bytes
) -> None:
    works = [Work(Bitstream.from_bytes(stream), prompt, 9) for prompt in ("one", "wait two")]
    works[0].sink = Listener(on_finish=stub.go.set)
    engine.run(works)
    assert [work.answer.text for work in works if work.answer] == ["one", "wait two"]


def test_one_failure_leaves_the_batch_alone(engine: Engine, stub: Stub, stream: bytes) -> None:
    stub.failures = [(400, "")]
    works = asked(engine, stream, "one", "two")
    assert sorted(work.error is None for work in works) == [False, True]
    assert len(stub.asked) == 2


def test_retries_wait_as_long_as_the_upstream_says(stub: Stub, stream: bytes) -> None:
    pauses: list[float] = []
    upstream = backend(stub, pauses)
    stub.failures = [(503, "3"), (429, "")]
    answer = _outcome(upstream, "hm?")
    assert isinstance(answer, Answer)
    assert answer.text == "hm?"
    assert pauses == [3.0, 0.5]
    stub.failures = [(503, "2")] * 3
    error = _outcome(upstream, "hm?")
    assert isinstance(error, UpstreamError)
    assert error.retry_after == 2.0


def test_a_refusal_is_not_repeated(stub: Stub) -> None:
    stub.failures = [(401, "")]
    error = _outcome(backend(stub, []), "hm?")
    assert isinstance(error, UpstreamError)
    assert len(stub.asked) == 1


def test_words_that_were_passed_on_are_not_asked_for_again(stub: Stub) -> None:
    stub.cut = True
    error = _outcome(backend(stub, []), "hm?")
    assert isinstance(error, UpstreamError)
    assert len(stub.asked) == 1


def test_a_silent_upstream_is_given_up(stub: Stub) -> None:
    pauses: list[float] = []
    upstream = backend(stub, pauses, timeout_s=0.2, retries=1)
    error = _outcome(upstream, "wait for it")
    assert isinstance(error, UpstreamError)
    assert "ReadTimeout" in error.message
    assert (len(stub.asked), pauses) == (1, [])
    stub.silent = True
    error = _outcome(upstream, "hm?")
    assert isinstance(error, UpstreamError)
    assert (len(stub.asked), pauses) == (3, [0.25])


def test_the_circuit_opens_and_tries_again() -> None:
    now = [0.0]
    circuit = Circuit(2, 10.0, clock=lambda: now[0])
    circuit.check()
    circuit.failed()
    circuit.check()
    circuit.failed()
    now[0] = 4.0
    with pytest.raises(UpstreamError) as raised:
        circuit.check()
    assert raised.value.retry_after == 6.0
    now[0] = 10.0
    circuit.check()
    with pytest.raises(UpstreamError):
        circuit.check()
    circuit.succeeded()
    circuit.check()


def test_an_address_where_nobody_is(bundle: Bundle) -> None:
    with pytest.raises(UpstreamError, match="names no model"):
        Engine([bundle], "http://127.0.0.1:9/v1", "cpu", 1)


def test_over_http(serve, stub: Stub, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    url = serve(mllm=stub.url)
    form = {"bitstream": stream, "prompt": (None, "what now")}
    answered = httpx.post(f"{url}/v1/query", files=form, timeout=300).json()
    assert (answered["answer"], answered["model"], answered["view"]) == (
        "what now",
        "large",
        "picture",
    )
    stub.failures = [(400, "")]
    failed = httpx.post(f"{url}/v1/query", files=form, timeout=300)
    assert (failed.status_code, failed.json()["code"]) == (502, "upstream")


def test_it_is_told_the_turns(serve, stub: Stub, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    url = serve(mllm=stub.url)
    picture = {"url": f"{DATA_URL}{base64.b64encode(stream).decode()}"}
    turns = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "image_url", "image_url": picture}]},
        {"role": "assistant", "content": "a street"},
        {"role": "user", "content": "what now"},
    ]
    asked = {"model": "", "messages": turns}
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=300).is_success
    first, *rest = stub.asked[-1]["messages"]
    assert (first["role"], first["content"][0]["type"]) == ("user", "image_url")
    assert first["content"][1] == {"type": "text", "text": "be brief"}
    assert rest == [
        {"role": "assistant", "content": [{"type": "text", "text": "a street"}]},
        {"role": "user", "content": [{"type": "text", "text": "what now"}]},
    ]


def test_the_circuit_over_http(serve, stub: Stub, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    url = serve(mllm=stub.url, upstream_retries=0)
    before = len(stub.asked)
    stub.failures = [(500, "")] * 5
    for asked in (1, 2, 3, 4, 5, 5):
        form = {"bitstream": stream, "prompt": (None, "what now")}
        failed = httpx.post(f"{url}/v1/query", files=form, timeout=300)
        assert (failed.status_code, failed.json()["code"]) == (502, "upstream")
        assert len(stub.asked) == before + asked
    assert 1 <= int(failed.headers["retry-after"]) <= 10
    assert httpx.get(f"{url}/livez").status_code == 200


def test_the_deadline_hangs_up(serve, stub: Stub, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    url = serve(mllm=stub.url, deadline_s=2.0)
    stub.more = 1_000_000
    form = {"bitstream": stream, "prompt": (None, "wait for it"), "stream": (None, "true")}
    events = httpx.post(f"{url}/v1/query", files=form, timeout=300).text.split("\n\n")
    assert events[0] == 'event: text\ndata: {"text": "wait"}'
    name, _, data = events[1].partition("\ndata: ")
    assert (name, json.loads(data)["code"]) == ("event: error", "deadline_exceeded")
    stub.go.set()
    assert stub.hung_up.wait(PATIENCE_S)
    assert 'cotam_errors_total{code="deadline_exceeded"} 1.0' in httpx.get(f"{url}/metrics").text


def test_a_stream_that_breaks_says_so(serve, stub: Stub, stream: bytes) -> None:  # type: ignore[no-untyped-def]
    openai = pytest.importorskip("openai")
    url = serve(mllm=stub.url)
    stub.cut = True
    picture = {"url": f"{DATA_URL}{base64.b64encode(stream).decode()}"}
    content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": "what now"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        chunks = client.chat.completions.create(
            model="large", messages=[{"role": "user", "content": content}], stream=True
        )
        with pytest.raises(openai.APIError, match="the model's server failed") as raised:
            list(chunks)
    assert raised.value.body["code"] == "upstream"


def test_a_model_that_answers_nothing_is_never_ready(stub: Stub) -> None:
    stub.failures = [(400, "")]
    service = Service(load_settings(mllm=stub.url))
    service.start()
    service.wait()
    assert len(stub.asked) == 1
    assert service.status == "starting"
    assert isinstance(service.failure, UpstreamError)
    with pytest.raises(NotReady):
        service.require_open()


def _outcome(upstream: Upstream, prompt: str) -> Answer | CotamError | None:
    listener = Listener()
    upstream.answer([GenerationRequest([VisualInput("picture", "data:,", 6)], prompt, 4, listener)])
    return listener.outcome
