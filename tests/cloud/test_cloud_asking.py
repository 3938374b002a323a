"""Asking back over real HTTP: what is asked for, what an enhancement changes, what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import httpx
import numpy as np
import pytest

from cloud_server.guard.keys import hash_key
from cloud_server.inference.need import (
    MOST_CELLS,
    QUALITY,
    cells_wanted,
    fine_already,
)
from edge_client.coding.continuing import CodedPicture
from edge_client.coding.picture_coder import PictureCoder
from shared.bitstream import MEDIA_TYPE
from shared.bundle import Bundle, open_bundle
from shared.errors import error_of, http_status
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.schemas import Problem, QueryResponse
from tests.cloud.conftest import draw

Serve = Callable[..., str]
PROMPT = "how many cars?"
WIDTH, HEIGHT = 256, 170
RAW = {"content-type": MEDIA_TYPE}
ALWAYS = {"ask_back": "1", "target_confidence": "1"}


@pytest.fixture(scope="module")
def url(serve: Serve, continuing_bundle: Bundle) -> str:
    """A server whose codec goes on, with keys of two callers."""
    keys = ",".join(f"{name}={hash_key(name)}" for name in ("me", "you"))
    return serve(bundle=str(continuing_bundle.root), api_keys=keys)


@pytest.fixture(scope="module")
def coder(continuing_bundle: Bundle) -> PictureCoder:
    return PictureCoder(continuing_bundle, quality=0.0, threads=1)


@dataclass
class Talk:
    """A coded picture, and the answer to a first question about it."""

    url: str
    coded: CodedPicture
    response: httpx.Response

    @property
    def first(self) -> QueryResponse:
        return QueryResponse.model_validate_json(self.response.content)

    def handle(self) -> str:
        assert self.first.need is not None
        return self.first.need.handle

    def wanted(self) -> tuple[Cells, float]:
        assert self.first.need is not None
        raw = base64.b64decode(self.first.need.cells)
        return Cells.decode(raw, WIDTH, HEIGHT), self.first.need.quality

    def enhance(self, body: bytes, key: str = "me", handle: str = "", **query: str):  # type: ignore[no-untyped-def]
        return httpx.post(
            f"{self.url}/v1/query/{handle or self.handle()}/enhancement",
            params=query,
            content=body,
            headers={**RAW, "authorization": f"Bearer {key}"},
            timeout=300,
        )


@pytest.fixture
def talk(url: str, coder: PictureCoder) -> Talk:
    coded = coder.code(draw(WIDTH, HEIGHT, 1))
    return Talk(url, coded, ask(url, coded, **ALWAYS))


def ask(url: str, coded: CodedPicture, **query: str) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/query",
        params=query,
        content=PROMPT.encode() + coded.stream.to_bytes(),
        headers={**RAW, "authorization": "Bearer me"},
        timeout=300,
    )


def refused(response: httpx.Response) -> tuple[int, str]:
    problem = Problem.model_validate_json(response.content)
    assert problem.detail
    return response.status_code, problem.code


def test_an_unsure_answer_asks_for_cells_and_is_given_again(talk: Talk) -> None:
    assert talk.response.status_code == 202
    assert talk.first.answer
    cells, quality = talk.wanted()
    assert 0 < cells.chosen.sum() <= MOST_CELLS
    body = talk.coded.enhancement(cells, quality)
    response = talk.enhance(body)
    assert response.status_code == 200
    second = QueryResponse.model_validate_json(response.content)
    assert second.need is None
    assert second.image.bytes == talk.first.image.bytes + len(body)
    assert second.confidence != talk.first.confidence


def test_a_sure_answer_asks_for_nothing(url: str, coder: PictureCoder) -> None:
    coded = coder.code(draw(WIDTH, HEIGHT, 1))
    for query in (
        {},
        {"ask_back": "1", "target_confidence": "0.000001"},
        {**ALWAYS, "max_bytes": "9"},
    ):
        response = ask(url, coded, **query)
        assert response.status_code == 200
        assert response.json()["need"] is None


def test_a_codec_that_does_not_go_on_is_not_asked(serve: Serve) -> None:
    joint = PictureCoder(open_bundle("tiny-joint"), quality=0.0, threads=1)
    stream = joint.code(draw(WIDTH, HEIGHT, 1)).stream.to_bytes()
    response = httpx.post(
        f"{serve(bundle='tiny,tiny-joint')}/v1/query",
        params=ALWAYS,
        content=PROMPT.encode() + stream,
        headers=RAW,
        timeout=300,
    )
    assert (response.status_code, response.json()["need"]) == (200, None)


def test_an_enhancement_sent_again_gets_the_answer_it_got(talk: Talk) -> None:
    cells, quality = talk.wanted()
    body = talk.coded.enhancement(cells, quality)
    first, again = talk.enhance(body), talk.enhance(body)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    other = talk.coded.enhancement(cells, 6.0)
    assert refused(talk.enhance(other)) == (422, "field_invalid")


def test_a_question_asked_again_has_the_same_handle(url: str, coder: PictureCoder) -> None:
    coded = coder.code(draw(WIDTH, HEIGHT, 1))
    body = PROMPT.encode() + coded.stream.to_bytes()
    headers = {**RAW, "authorization": "Bearer me", "idempotency-key": "once"}
    first, again = (
        httpx.post(f"{url}/v1/query", params=ALWAYS, content=body, headers=headers, timeout=300)
        for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["need"] == again.json()["need"]


def test_handles_belong_to_their_key(talk: Talk) -> None:
    body = talk.coded.enhancement(*talk.wanted())
    assert refused(talk.enhance(body, key="you")) == (404, "not_found")
    for handle in ("ask_none", "img_none", "a" * 500):
        assert refused(talk.enhance(body, handle=handle)) == (404, "not_found")
    assert talk.enhance(body).status_code == 200


def test_what_is_refused_leaves_the_question_open(talk: Talk, coder: PictureCoder) -> None:
    cells, quality = talk.wanted()
    body = talk.coded.enhancement(cells, quality)
    others = Cells(~cells.chosen, cells.cell)
    stranger = coder.code(draw(WIDTH, HEIGHT, 2))
    for wrong, code in (
        (
            CodedPicture(talk.coded._analysed, talk.coded.stream).enhancement(others, 5.0),
            "enhancement_cells",
        ),
        (
            CodedPicture(talk.coded._analysed, talk.coded.stream).enhancement(None, 5.0),
            "enhancement_cells",
        ),
        (stranger.enhancement(cells, quality), "enhancement_foreign"),
        (talk.coded.stream.to_bytes(), "stream_foreign"),
        (body[:-5], "stream_corrupt"),
        (b"", "stream_truncated"),
    ):
        assert refused(talk.enhance(wrong)) == (http_status(error_of(code, "")), code)
    parsed = Enhancement.from_bytes(body)
    lying = Enhancement(**{**vars(parsed), "check": parsed.check ^ 1})
    assert refused(talk.enhance(lying.to_bytes())) == (422, "decoder_mismatch")
    assert talk.enhance(body).status_code == 200
    assert refused(talk.enhance(body, stream="true")) == (404, "not_found")


def test_hostile_enhancements_leave_the_question_open(talk: Talk) -> None:
    """Under a right CRC: coarser than what is there, cells of no picture, two in one body."""
    cells, quality = talk.wanted()
    body = talk.coded.enhancement(cells, quality)
    parsed = Enhancement.from_bytes(body)
    larger = Cells(np.ones((32, 32), bool), 16).encode()
    for wrong, code in (
        (replace(parsed, quality_code=0).to_bytes(), "enhancement_coarse"),
        (replace(parsed, cells=b"\xff" * 4096).to_bytes(), "enhancement_cells"),
        (replace(parsed, cells=larger).to_bytes(), "enhancement_cells"),
        (replace(parsed, latents=b"\x00" * 4).to_bytes(), "decoder_mismatch"),
        (body + body, "stream_corrupt"),
    ):
        assert refused(talk.enhance(wrong)) == (http_status(error_of(code, "")), code)
    assert talk.enhance(body).status_code == 200


def test_handles_and_pictures_are_not_each_other(talk: Talk) -> None:
    headers = {"authorization": "Bearer me"}
    stream, handle = talk.coded.stream.to_bytes(), talk.handle()
    kept = httpx.post(
        f"{talk.url}/v1/images", content=stream, headers={**RAW, **headers}, timeout=300
    ).json()["image_id"]
    body = talk.coded.enhancement(*talk.wanted())
    assert refused(talk.enhance(body, handle=kept)) == (404, "not_found")
    form = {"image_id": (None, handle), "prompt": (None, PROMPT)}
    asked = httpx.post(f"{talk.url}/v1/query", files=form, headers=headers, timeout=300)
    deleted = httpx.delete(f"{talk.url}/v1/images/{handle}", headers=headers)
    assert refused(asked) == refused(deleted) == (404, "not_found")
    assert talk.enhance(body).status_code == 200


def test_one_of_two_enhancements_at_once_is_taken(talk: Talk) -> None:
    """Neither waits for the other to end: a handle is good once."""
    cells, quality = talk.wanted()
    bodies = [
        CodedPicture(talk.coded._analysed, talk.coded.stream).enhancement(cells, finer)
        for finer in (quality, quality + 1)
    ]
    with ThreadPoolExecutor(2) as pool:
        both = sorted(pool.map(talk.enhance, bodies), key=lambda response: response.status_code)
    assert both[0].status_code == 200
    assert refused(both[1]) == (422, "field_invalid")


@pytest.mark.parametrize(
    "wish",
    [{"target_confidence": value} for value in ("0", "1.5", "nan", "-1")] + [{"max_bytes": "0"}],
)
def test_wishes_that_are_none(url: str, coder: PictureCoder, wish: dict[str, str]) -> None:
    response = ask(url, coder.code(draw(WIDTH, HEIGHT, 1)), **{**ALWAYS, **wish})
    assert refused(response) == (422, "field_invalid")


def test_a_body_of_another_type_is_refused(talk: Talk) -> None:
    response = httpx.post(
        f"{talk.url}/v1/query/{talk.handle()}/enhancement",
        data={"a": "b"},
        headers={"authorization": "Bearer me"},
    )
    assert refused(response) == (400, "request")


def test_events_end_in_what_is_needed_then_in_the_answer(url: str, coder: PictureCoder) -> None:
    coded = coder.code(draw(WIDTH, HEIGHT, 1))
    talk = Talk(url, coded, httpx.Response(200))
    lines = ask(url, coded, stream="true", **ALWAYS).text
    name, data = lines.strip().split("\n\n")[-1].split("\n")
    assert name == "event: need"
    talk.response = httpx.Response(202, content=data.removeprefix("data: "))
    events = talk.enhance(coded.enhancement(*talk.wanted()), stream="true").text
    name, data = events.strip().split("\n\n")[-1].split("\n")
    assert name == "event: done"
    assert json.loads(data.removeprefix("data: "))["need"] is None


def test_a_kept_picture_stays_finer(url: str, coder: PictureCoder) -> None:
    coded = coder.code(draw(WIDTH, HEIGHT, 1))
    headers = {"authorization": "Bearer me"}

    def about(image_id: str, **query: str) -> httpx.Response:
        files = {"image_id": (None, image_id), "prompt": (None, PROMPT)}
        return httpx.post(
            f"{url}/v1/query", params=query, files=files, headers=headers, timeout=300
        )

    kept = httpx.post(
        f"{url}/v1/images", content=coded.stream.to_bytes(), headers={**RAW, **headers}, timeout=300
    ).json()["image_id"]
    before = about(kept)
    layers, asked = 1, np.zeros((11, 16), bool)
    while (response := about(kept, **ALWAYS)).status_code == 202:
        talk = Talk(url, coded, response)
        cells, quality = talk.wanted()
        assert not (asked & cells.chosen).any()
        asked |= cells.chosen
        second = talk.enhance(coded.enhancement(cells, quality))
        assert second.status_code == 200
        after = about(kept)
        assert after.json()["confidence"] == second.json()["confidence"]
        assert after.json()["image"] == second.json()["image"]
        layers += 1
    assert layers == 4  # however often it is asked, it ends
    assert after.json()["confidence"] != before.json()["confidence"]


def test_nothing_is_asked_for_that_is_as_fine(url: str, continuing_bundle: Bundle) -> None:
    """A stream finer than what is asked for, and a small picture that became so cell by cell."""
    flat = PictureCoder(continuing_bundle, quality=QUALITY, threads=1, guidance=False)
    response = ask(url, flat.code(draw(96, 64, 1)), **ALWAYS)
    assert (response.status_code, response.json()["need"]) == (200, None)
    flat.quality = 0.0
    base = flat.code(draw(96, 64, 1))
    assert not fine_already(base.stream, []).any()
    cells = Cells(np.arange(24).reshape(4, 6) < 20, 16)
    first = Enhancement.from_bytes(base.enhancement(cells, QUALITY))
    assert (fine_already(base.stream, [first]) == cells.chosen).all()
    assert not fine_already(base.stream, [replace(first, quality_code=99)]).any()
    assert fine_already(base.stream, [replace(first, cells=b"")]).all()
    looked = np.ones((4, 6), np.float32)
    wanted = cells_wanted(96, 64, None, looked, 16, cells.chosen)
    assert wanted is not None
    assert (wanted.chosen == ~cells.chosen).all()
    assert cells_wanted(96, 64, None, looked, 16, np.ones((4, 6), bool)) is None
