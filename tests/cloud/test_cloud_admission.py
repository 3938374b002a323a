"""Keys, rates, places, deadlines and repeated requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cloud_server.cli import cli
from cloud_server.guard.idempotency import AnswerStore
from cloud_server.guard.keys import KeyRing, hash_key, new_key
from cloud_server.guard.limits import Admission, RateLimit
from cloud_server.guard.request_id import Gone
from cloud_server.settings import load_settings
from shared.errors import FieldInvalid, KeyMissing, KeyRefused, Overloaded, RateLimited, UsageError
from shared.schemas import Problem

Serve = Callable[..., str]
KEY = new_key()


@pytest.fixture(scope="module")
def locked(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server with one key, known from a file."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# who may ask\nphone={hash_key(KEY)}\n")
    return serve(api_keys_file=file)


def post(url: str, stream: bytes, key: str = "", **headers: str) -> httpx.Response:
    if key:
        headers["authorization"] = f"Bearer {key}"
    return httpx.post(
        f"{url}/v1/query",
        files={"bitstream": stream},
        data={"prompt": "how many cars?"},
        headers=headers,
        timeout=300,
    )


def test_every_route_but_the_probes_asks_for_a_key(locked: str, stream: bytes) -> None:
    document = httpx.get(f"{locked}/openapi.json", headers={"authorization": f"Bearer {KEY}"})
    asked = []
    for path, methods in document.json()["paths"].items():
        for method in methods:
            response = httpx.request(method, locked + path.replace("{", "").replace("}", ""))
            if path in ("/livez", "/readyz"):
                assert response.status_code == 200
                continue
            asked.append(path)
            problem = Problem.model_validate_json(response.content)
            assert (problem.status, problem.code) == (401, "key_missing"), path
            assert response.headers["www-authenticate"] == "Bearer"
    assert "/v1/query" in asked
    assert httpx.get(f"{locked}/openapi.json").status_code == 401


def test_right_and_wrong_keys(locked: str, stream: bytes) -> None:
    assert post(locked, stream, KEY).status_code == 200
    for wrong in (new_key(), KEY[:-1], "é"):
        response = httpx.get(
            f"{locked}/v1/models", headers={b"authorization": b"Bearer " + wrong.encode()}
        )
        assert (response.status_code, response.json()["code"]) == (403, "key_refused")


def test_key_ring_holds_hashes_alone() -> None:
    ring = KeyRing({"phone": hash_key(KEY)})
    assert KEY not in str(vars(ring))
    assert ring.caller(f"bearer {KEY}") == "phone"
    for header, error in (("", KeyMissing), ("Basic x", KeyMissing), ("Bearer x", KeyRefused)):
        with pytest.raises(error):
            ring.caller(header)
    assert KeyRing({}).caller("") == ""


def test_bad_keys_in_the_settings_stay_hidden(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="COTAM_API_KEYS") as raised:
        KeyRing.of(load_settings(api_keys="phone=hunter2"))
    assert "hunter2" not in str(raised.value)
    with pytest.raises(UsageError, match="COTAM_API_KEYS_FILE"):
        KeyRing.of(load_settings(api_keys_file=tmp_path / "none"))
    assert "hunter2" not in repr(load_settings(api_keys="phone=hunter2"))


def test_a_file_of_keys_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"phone=\xff\xfe")
    with pytest.raises(UsageError, match=r"COTAM_API_KEYS_FILE is .*: it is no text"):
        KeyRing.of(load_settings(api_keys_file=file))


def test_one_name_has_one_key() -> None:
    first, second = (f"phone={hash_key(new_key())}" for _ in range(2))
    assert KeyRing.of(load_settings(api_keys=f"{first},{first}"))
    with pytest.raises(UsageError, match="COTAM_API_KEYS names two keys 'phone'"):
        KeyRing.of(load_settings(api_keys=f"{first},{second}"))


def test_the_command_makes_a_key_that_works() -> None:
    made = CliRunner().invoke(cli, ["key", "robot"])
    ring = KeyRing.of(load_settings(api_keys=made.stderr.strip()))
    assert ring.caller(f"Bearer {made.stdout.strip()}") == "robot"
    refused = CliRunner().invoke(cli, ["key", "my robot"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("cloud_server: the name of a key is 'my robot'")


def test_two_keys_see_nothing_of_each_other(serve: Serve, streams: list[bytes]) -> None:
    keys = {name: new_key() for name in ("mine", "yours")}
    url = serve(
        api_keys=",".join(f"{name}={hash_key(key)}" for name, key in keys.items()),
        rate_per_minute=0.001,
        rate_burst=3,
    )
    my_headers, your_headers = ({"authorization": f"Bearer {key}"} for key in keys.values())
    form = {"bitstream": streams[0]}
    kept = httpx.post(f"{url}/v1/images", files=form, headers=my_headers, timeout=300).json()[
        "image_id"
    ]
    asked = {"image_id": (None, kept), "prompt": (None, "hm?")}
    refusal = httpx.post(f"{url}/v1/query", files=asked, headers=your_headers, timeout=300)
    assert (refusal.status_code, refusal.json()["code"]) == (404, "not_found")
    assert httpx.delete(f"{url}/v1/images/{kept}", headers=your_headers).status_code == 404
    # The same idempotency key of another caller, with another request, is another one.
    for picture, key in zip(streams, keys.values(), strict=False):
        answer = post(url, picture, key, **{"idempotency-key": "job-1"})
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers
    assert httpx.post(f"{url}/v1/query", files=asked, headers=my_headers, timeout=300).is_success
    # Mine are used up by now, yours are not.
    assert post(url, streams[0], keys["mine"]).status_code == 429
    assert post(url, streams[0], keys["yours"]).status_code == 200


def test_rate_limit_refills() -> None:
    now = [0.0]
    limit = RateLimit(per_minute=30, burst=2, clock=lambda: now[0])
    limit.take("a")
    limit.take("a")
    with pytest.raises(RateLimited) as raised:
        limit.take("a")
    assert raised.value.retry_after == pytest.approx(2.0)
    limit.take("b")
    now[0] = 2.0
    limit.take("a")
    with pytest.raises(RateLimited):
        limit.take("a")


def test_rate_limit_over_http(serve: Serve, stream: bytes) -> None:
    url = serve(rate_per_minute=0.001, rate_burst=1)
    assert post(url, stream).status_code == 200
    response = post(url, stream)
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert int(response.headers["retry-after"]) > 1
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_places_are_given_back() -> None:
    places = Admission(1, clock=lambda: 0.0)
    with places.enter():
        with pytest.raises(Overloaded) as raised, places.enter():
            pass
        assert raised.value.retry_after
    with places.enter():
        assert places.inside == 1
    assert places.inside == 0


def test_a_full_server_refuses_before_it_reads(serve: Serve, stream: bytes) -> None:
    url = serve(max_requests=1)
    host, port = url.removeprefix("http://").split(":")
    # Holds the only place: its body never comes.
    with socket.create_connection((host, int(port))) as slow:
        head = "POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n"
        slow.sendall(f"{head}content-type: multipart/form-data; boundary=x\r\n\r\n".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 100")
        response = post(url, stream)
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert int(response.headers["retry-after"]) >= 1


def test_a_slow_body_is_given_up(serve: Serve, stream: bytes) -> None:
    url = serve(body_timeout_s=0.05)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        head = "POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"
        slow.sendall(f"{head}content-type: multipart/form-data; boundary=x\r\n\r\n".encode())
        answer = slow.recv(1000)
    assert answer.startswith(b"HTTP/1.1 504")


def test_the_deadline_ends_the_work(serve: Serve, talkative: Path, stream: bytes) -> None:
    url = serve(mllm=str(talkative), deadline_s=0.05)
    response = httpx.post(
        f"{url}/v1/query",
        files={"bitstream": stream},
        data={"prompt": "how many cars?", "max_new_tokens": "700"},
        timeout=300,
    )
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


def test_a_repeated_request_gets_the_stored_answer(server_url: str, streams: list[bytes]) -> None:
    first = post(server_url, streams[0], **{"idempotency-key": "job-1"})
    again = post(server_url, streams[0], **{"idempotency-key": "job-1"})
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    other = post(server_url, streams[1], **{"idempotency-key": "job-1"})
    assert (other.status_code, other.json()["code"]) == (422, "field_invalid")


def test_replays_are_bounded_and_keep_no_errors() -> None:
    now = [0.0]
    calls: list[str] = []

    async def story() -> None:
        store = AnswerStore(2, 10.0, clock=lambda: now[0])

        async def ask(key: str, fail: bool = False) -> bool:
            async def make():  # type: ignore[no-untyped-def]
                calls.append(key)
                if fail:
                    raise FieldInvalid("bad")
                return key

            return (await store.answer("me", key, b"", make))[1]

        with pytest.raises(FieldInvalid):
            await ask("a", fail=True)
        assert not await ask("a")
        assert await ask("a")
        assert await asyncio.gather(ask("b"), ask("b")) == [False, True]
        assert not await ask("c")
        assert not await ask("a")
        now[0] = 11.0
        assert not await ask("c")

    asyncio.run(story())
    assert calls == ["a", "a", "b", "c", "a", "c"]


def test_a_copy_takes_over_when_the_first_connection_breaks() -> None:
    async def story() -> None:
        store = AnswerStore(2, 10.0)
        broken = asyncio.Event()

        async def first() -> str:
            await broken.wait()
            raise Gone

        async def second() -> str:
            return "answer"

        waiting = asyncio.create_task(store.answer("me", "k", b"", first))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        repeated = asyncio.create_task(store.answer("me", "k", b"", second))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        broken.set()
        with pytest.raises(Gone):
            await waiting
        assert await repeated == ("answer", False)

    asyncio.run(story())
