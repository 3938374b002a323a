"""Hostile requests, ten of a kind; after each kind a good one is answered."""

from __future__ import annotations

import base64
import logging
import re
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from cloud_server.guard.http_head import MOST_BYTES
from cloud_server.guard.keys import hash_key, new_key
from cloud_server.routes.schemas import DATA_URL
from shared.schemas import PROBLEM_MEDIA_TYPE, Problem
from tests.cloud import hostile
from tests.cloud.hostile import CHAT, EACH, QUERY, Request, form, form_body, head

Serve = Callable[..., str]
KEY = new_key()


@pytest.fixture(scope="module")
def client(serve: Serve) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    url = serve(api_keys=f"phone={hash_key(KEY)}")
    with httpx.Client(base_url=url, headers=headers, timeout=300) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (hostile.bombs, {(413, "stream_too_large")}),
        (hostile.wrong_keys, {(403, "key_refused")}),
        (hostile.wrong_bundles, {(409, "bundle_unknown")}),
        (hostile.cut_streams, {(400, "stream_truncated"), (400, "stream_corrupt")}),
        (hostile.giant_prompts, {(422, "field_invalid")}),
        (hostile.path_tricks, {(404, "not_found")}),
        (hostile.foreign_urls, {(422, "field_invalid")}),
        (hostile.part_header_floods, {(400, "request")}),
        (hostile.many_parts, {(400, "request"), (422, "field_invalid")}),
        (hostile.strange_parts, {(400, "request"), (422, "field_invalid")}),
        (hostile.nested_forms, {(400, "stream_foreign")}),
        (hostile.damaged_forms, {(400, "request"), (422, "field_invalid")}),
        (hostile.wrong_content_types, {(400, "request")}),
        (hostile.invalid_utf8, {(422, "field_invalid")}),
        (hostile.damaged_latents, {(422, "decoder_mismatch")}),
    ],
)
def test_each_gets_its_documented_answer(
    client: httpx.Client,
    stream: bytes,
    kind: Callable[[bytes], Iterator[Request]],
    answers: set[tuple[int, str]],
) -> None:
    given = set()
    requests = list(kind(stream))
    assert len(requests) == EACH
    for request in requests:
        response = client.request(**{"method": "POST", **request})
        assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
        given.add((response.status_code, Problem.model_validate_json(response.content).code))
    assert given <= answers
    still_good(client, stream)


def test_slow_bodies(serve: Serve, stream: bytes) -> None:
    url = serve(body_timeout_s=1.0)
    slow = [connection(url) for _ in range(EACH)]
    for client_socket in slow:
        client_socket.sendall(head("POST", QUERY, **{"content-length": "1000"}) + b"--x\r\n")
    for client_socket in slow:
        with client_socket:
            answer = everything(client_socket)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"code":"deadline_exceeded"' in answer
    with httpx.Client(base_url=url, timeout=300) as client:
        still_good(client, stream)


def test_wrong_lengths(client: httpx.Client, stream: bytes) -> None:
    body = form_body(stream)
    for i in range(EACH):
        length = str(i * (len(body) - 3) // EACH)  # the rest is no request
        with connection(str(client.base_url)) as short:
            fields = {"content-length": length, "authorization": f"Bearer {KEY}"}
            short.sendall(head("POST", QUERY, **fields) + body)
            answer = everything(short)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"request"' in answer
    still_good(client, stream)


def test_a_form_may_name_a_charset(client: httpx.Client, stream: bytes) -> None:
    for charset in ("utf-16", "nonsense", "latin-1", "idna"):
        kind = f"multipart/form-data; boundary=x; charset={charset}"
        answer = client.post(QUERY, content=form_body(stream), headers={"content-type": kind})
        assert answer.is_success, answer.text


def test_cut_uploads(client: httpx.Client, stream: bytes) -> None:
    body = form_body(stream)
    before = client_gone(client)
    for i in range(EACH):
        with connection(str(client.base_url)) as cut:
            fields = {"content-length": str(len(body)), "authorization": f"Bearer {KEY}"}
            cut.sendall(head("POST", QUERY, **fields) + body[: i * len(body) // EACH])
    # Answered in the order of arrival at the latest: by then the cut ones have been noticed.
    still_good(client, stream)
    for _ in range(1_000):
        if client_gone(client) == before + EACH:
            break
    assert client_gone(client) == before + EACH
    assert "cotam_requests_inside 0.0" in client.get("/metrics").text


def test_header_floods(client: httpx.Client, stream: bytes) -> None:
    for i in range(EACH):
        many = "".join(f"x-{n}: {'v' * (10 << i)}\r\n" for n in range(20_000 >> i))
        whole = f"GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n".encode()
        for flood in (whole, whole[:-2], whole[: MOST_BYTES + 1]):
            assert refused(client, flood) == (400, "request")
    still_good(client, stream)


def test_the_limit_of_line_and_headers(client: httpx.Client) -> None:
    def padded(size: int, line: bytes = b"GET /livez HTTP/1.1") -> bytes:
        room = size - len(line) - len(b"\r\nhost:x\r\nx:\r\n\r\n")
        return line + b"\r\nhost:x\r\nx:" + room * b"v" + b"\r\n\r\n"

    def status(*pieces: bytes) -> int:
        with connection(str(client.base_url)) as client_socket:
            for piece in pieces:
                client_socket.sendall(piece)
            return int(everything(client_socket).split()[1])

    most, over = padded(MOST_BYTES), padded(MOST_BYTES + 1)
    assert (len(most), len(over)) == (MOST_BYTES, MOST_BYTES + 1)
    assert status(most) == status(most[:9_000], most[9_000:]) == 200
    assert status(over) == status(over[:9_000], over[9_000:]) == 400
    path = b"GET /" + MOST_BYTES * b"a" + b"?b HTTP/1.1\r\nhost: x\r\n\r\n"
    assert status(path) in (400, 404)  # there is no such path, whatever its length
    query = b"GET /livez?" + MOST_BYTES * b"b" + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    assert status(query) == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, knocking on the wrong door
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",  # no host
        b"GET /live z HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: " + 30 * b"9" + b"\r\n\r\n",
        b"POST /v1/query HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_http(client: httpx.Client, stream: bytes, raw: bytes) -> None:
    assert refused(client, raw) == (400, "request")
    still_good(client, stream)


def test_a_body_that_breaks_after_its_refusal(
    client: httpx.Client, stream: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for key, status in (("wrong", 403), (KEY, 400)):
        with connection(str(client.base_url)) as client_socket:
            fields = {"transfer-encoding": "chunked", "authorization": f"Bearer {key}"}
            client_socket.sendall(head("POST", QUERY, **fields))
            if status == 403:
                assert everything(client_socket).startswith(b"HTTP/1.1 403 ")
            client_socket.sendall(b"no length\r\n")
            client_socket.shutdown(socket.SHUT_WR)
            rest = everything(client_socket)
        assert rest == b"" if status == 403 else rest.startswith(b"HTTP/1.1 400 ")
    still_good(client, stream)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_made_up_methods_are_counted_together(client: httpx.Client, stream: bytes) -> None:
    for i in range(EACH):
        response = client.request(f"FETCH{i}", "/livez", headers={"authorization": ""})
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    counted = client.get("/metrics").text
    assert "FETCH" not in counted
    assert 'cotam_requests_total{method="other",route="/livez",status="405"} 10.0' in counted


def test_an_upgrade_is_not_taken(client: httpx.Client) -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    headers["sec-websocket-key"] = base64.b64encode(bytes(16)).decode()
    assert client.get("/livez", headers=headers).json() == {"status": "ok"}
    assert client.get("/nowhere", headers=headers).status_code == 404


def still_good(client: httpx.Client, stream: bytes) -> None:
    """A good request in either form is answered."""
    assert client.request(**{"method": "POST", **form(stream)}).status_code == 200
    picture = {"url": DATA_URL + base64.b64encode(stream).decode()}
    good = {"model": "", "messages": [hostile.user({"type": "image_url", "image_url": picture})]}
    assert client.post(CHAT, json=good).status_code == 200


def refused(client: httpx.Client, raw: bytes) -> tuple[int, str]:
    """Status and code of the problem that bytes on a connection of their own are answered with."""
    with connection(str(client.base_url)) as client_socket:
        client_socket.sendall(raw)
        said, _, body = everything(client_socket).partition(b"\r\n\r\n")
    problem = Problem.model_validate_json(body)
    assert problem.instance.encode() in said
    assert PROBLEM_MEDIA_TYPE.encode() in said
    return int(said.split()[1]), problem.code


def connection(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    return socket.create_connection((host, int(port)))


def everything(source: socket.socket) -> bytes:
    """One answer, or what a server says before it hangs up; it may do so with a reset."""
    received = b""
    try:
        while block := source.recv(65_536):
            received += block
            said, _, body = received.lower().partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", said)
            if length and len(body) >= int(length[1]):
                break
    except ConnectionError:
        pass
    return received


def client_gone(client: httpx.Client) -> int:
    """How many requests ended because their client left."""
    lines = client.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("cotam_requests_total") and "499" in line]
    return sum(round(float(line.rpartition(" ")[2])) for line in counts)
