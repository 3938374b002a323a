"""Questions over real HTTP: what is answered, and what each bad request gets."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_client.coding.encoder import Encoder
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.prompt import MAX_PROMPT_CHARACTERS
from shared.schemas import PROBLEM_MEDIA_TYPE, ModelList, Problem, QueryResponse


def ask(url: str, stream: bytes, prompt: Any = "how many cars?", **fields: str) -> httpx.Response:
    files = {"bitstream": ("picture.cotam", stream, "application/vnd.cotam")}
    data = {"prompt": prompt, **fields}
    return httpx.post(f"{url}/v1/query", files=files, data=data, timeout=300)


def refused(response: httpx.Response, status: int, code: str) -> Problem:
    """The problem of a refusal, checked to be one of the documented form."""
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.status, problem.code) == (status, status, code)
    assert problem.instance == response.headers["x-request-id"] != ""
    assert problem.detail
    return problem


def test_a_question_is_answered(server_url: str, bundle: Bundle, stream: bytes) -> None:
    response = ask(server_url, stream)
    assert response.status_code == 200
    answer = QueryResponse.model_validate_json(response.content)
    assert answer.id == response.headers["x-request-id"]
    assert answer.model == bundle.manifest.name
    assert answer.view == "adapter"
    assert (answer.image.width, answer.image.height) == (256, 256)
    assert answer.image.bytes == len(stream)
    assert answer.image.bpp == pytest.approx(8 * len(stream) / 65536, abs=1e-5)
    assert answer.image.codec == bundle.codec_id.hex()
    assert answer.usage.prompt_tokens > 256
    assert answer.confidence is not None
    assert 0 < answer.confidence < 1
    times = answer.timings_ms
    assert times.total >= times.decode + times.vision + times.generate > 0


def test_the_callers_request_id_is_kept(server_url: str) -> None:
    kept = httpx.get(f"{server_url}/livez", headers={"x-request-id": "edge-7.a"})
    assert kept.headers["x-request-id"] == "edge-7.a"
    odd = httpx.get(f"{server_url}/livez", headers={"x-request-id": "a b\x7f"})
    assert len(odd.headers["x-request-id"]) == 32


def test_models_name_the_bundles(server_url: str, bundle: Bundle) -> None:
    listed = ModelList.model_validate_json(httpx.get(f"{server_url}/v1/models").content)
    assert [(m.id, m.view, m.bundles, m.codecs, m.resolution) for m in listed.data] == [
        (bundle.manifest.name, "adapter", [bundle.hex_id], [bundle.codec_id.hex()], 256)
    ]


@pytest.mark.parametrize("path", ["/nowhere", "/v1/query/", "/v1/../etc/passwd"])
def test_unknown_routes(server_url: str, path: str) -> None:
    refused(httpx.get(server_url + path), 404, "not_found")


def test_wrong_method(server_url: str) -> None:
    response = httpx.get(f"{server_url}/v1/query")
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_empty_prompt(server_url: str, stream: bytes, prompt: str) -> None:
    refused(ask(server_url, stream, prompt), 422, "field_invalid")


def test_long_prompts(server_url: str, stream: bytes) -> None:
    refused(ask(server_url, stream, "a" * (MAX_PROMPT_CHARACTERS + 1)), 422, "field_invalid")
    refused(ask(server_url, stream, "a" * 1_000_000), 422, "field_invalid")
    problem = refused(ask(server_url, stream, "xq " * 1_000), 422, "field_invalid")
    assert "tokens" in problem.detail


@pytest.mark.parametrize("token", ["<image>", "</s>"])
def test_control_tokens_are_refused(server_url: str, stream: bytes, token: str) -> None:
    problem = refused(ask(server_url, stream, f"what is {token}?"), 422, "field_invalid")
    assert token in problem.detail


def test_prompt_that_is_not_utf8(server_url: str, stream: bytes) -> None:
    files = {"bitstream": stream, "prompt": (None, b"caf\xe9")}
    refused(httpx.post(f"{server_url}/v1/query", files=files), 422, "field_invalid")


@pytest.mark.parametrize("value", ["0", "1025", "-1", "many", "1e2", "²"])
def test_bad_number_of_tokens(server_url: str, stream: bytes, value: str) -> None:
    refused(ask(server_url, stream, max_new_tokens=value), 422, "field_invalid")


def test_missing_unknown_and_repeated_fields(server_url: str, stream: bytes) -> None:
    url = f"{server_url}/v1/query"
    refused(httpx.post(url, files={"bitstream": stream}), 422, "field_invalid")
    refused(httpx.post(url, files={"prompt": (None, "hm?")}), 422, "field_invalid")
    refused(ask(server_url, stream, colour="red"), 422, "field_invalid")
    twice = [("bitstream", stream), ("prompt", (None, b"a")), ("prompt", (None, b"b"))]
    refused(httpx.post(url, files=twice), 422, "field_invalid")


def test_bodies_that_are_no_form(server_url: str, stream: bytes) -> None:
    url = f"{server_url}/v1/query"
    refused(httpx.post(url, content=stream), 400, "request")
    refused(httpx.post(url, json={"prompt": "hm?"}), 400, "request")
    kind = {"content-type": "multipart/form-data; boundary=x"}
    refused(httpx.post(url, content=b"junk", headers=kind), 400, "request")
    cut = b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nhow'
    refused(httpx.post(url, content=cut, headers=kind), 400, "request")
    flood = b"--x\r\n" + b"a: b\r\n" * 1000 + b"\r\n\r\n--x--"
    refused(httpx.post(url, content=flood, headers=kind), 400, "request")


def test_limits_of_bytes_and_of_pixels(serve: Any, streams: list[bytes]) -> None:
    url = serve(max_body_bytes=16_384, max_pixels=60_000)
    refused(ask(url, bytes(100_000)), 413, "body_too_large")
    kind = {"content-type": "multipart/form-data; boundary=x"}
    body = b'--x\r\ncontent-disposition: form-data; name="bitstream"\r\n\r\n'
    parts = iter([body, *(b"a" * 1000 for _ in range(30))])
    response = httpx.post(f"{url}/v1/query", content=parts, headers=kind)
    refused(response, 413, "body_too_large")
    assert "60000" in refused(ask(url, streams[0]), 413, "stream_too_large").detail
    assert ask(url, streams[1]).status_code == 200


def test_foreign_bytes(server_url: str) -> None:
    refused(ask(server_url, b"\xff\xd8\xff\xe0 a JPEG"), 400, "stream_foreign")
    refused(ask(server_url, b""), 400, "stream_truncated")


def test_cut_streams(server_url: str, stream: bytes) -> None:
    for length in (1, 5, 12, len(stream) // 2, len(stream) - 1):
        problem = ask(server_url, stream[:length])
        code = Problem.model_validate_json(problem.content).code
        assert code in ("stream_truncated", "stream_corrupt")
        refused(problem, 400, code)


def test_another_bundles_stream(server_url: str, bundle: Bundle, stream: bytes) -> None:
    other = _changed(stream, codec_id=bytes(4))
    problem = refused(ask(server_url, other), 409, "bundle_unknown")
    assert problem.bundles == [bundle.hex_id]
    assert "00000000" in problem.detail


def test_bomb(server_url: str, stream: bytes) -> None:
    bomb = _changed(stream, width=65_535, height=65_535, level_map=b"")
    refused(ask(server_url, bomb), 413, "stream_too_large")


def test_streams_that_decode_to_something_else(server_url: str, stream: bytes) -> None:
    check = Bitstream.from_bytes(stream).check ^ 1
    refused(ask(server_url, _changed(stream, check=check)), 422, "decoder_mismatch")
    refused(ask(server_url, _changed(stream, width=128, level_map=b"")), 422, "decoder_mismatch")
    refused(ask(server_url, _changed(stream, latents=b"\x01")), 422, "decoder_mismatch")
    refused(ask(server_url, _changed(stream, latents=b"\x01\x00")), 422, "decoder_mismatch")


def test_bad_level_map(server_url: str, stream: bytes) -> None:
    refused(ask(server_url, _changed(stream, level_map=b"\x03\x00")), 400, "stream_malformed")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_latents_never_crash(server_url: str, stream: bytes, data: st.DataObject) -> None:
    sent = Bitstream.from_bytes(stream)
    latents = bytearray(sent.latents)
    place = data.draw(st.integers(0, len(latents) - 1))
    latents[place] ^= data.draw(st.integers(1, 255))
    response = ask(server_url, _changed(stream, latents=bytes(latents)))
    assert response.status_code in (200, 422)


def test_a_tiny_picture(server_url: str, encoder: Encoder) -> None:
    pixel = encoder.analyse(np.full((1, 1, 3), 200, np.uint8)).code(3.0).to_bytes()
    answer = QueryResponse.model_validate_json(ask(server_url, pixel).content)
    assert (answer.image.width, answer.image.height) == (1, 1)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 4_000)])
def test_a_thread_of_a_picture(server_url: str, encoder: Encoder, shape: tuple[int, int]) -> None:
    thin = encoder.analyse(np.full((*shape, 3), 200, np.uint8)).code(0.0).to_bytes()
    answer = QueryResponse.model_validate_json(ask(server_url, thin).content)
    assert (answer.image.height, answer.image.width) == shape


def test_api_document(server_url: str) -> None:
    document = httpx.get(f"{server_url}/openapi.json").json()
    form = document["paths"]["/v1/query"]["post"]["requestBody"]["content"]
    assert form["multipart/form-data"]["schema"]["required"] == ["prompt"]


def _changed(stream: bytes, **fields: Any) -> bytes:
    """The stream with other fields and a CRC that fits them."""
    parsed = Bitstream.from_bytes(stream)
    return Bitstream(**{**vars(parsed), **fields}).to_bytes()
