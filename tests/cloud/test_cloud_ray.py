"""The service on Ray: a cluster of this test's own, in processes of their own.

Ray warns about many things and starts a dozen processes: nothing of it is imported here.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from PIL import Image

from cloud_server.decoding import decode
from edge_client import EdgeClient
from edge_client.coding.coded_clip import CodedClip
from edge_client.coding.picture_coder import PictureCoder
from edge_client.server.camera import Camera
from edge_client.server.exchange import Attempt
from shared.bitstream import MEDIA_TYPE, Bitstream
from shared.bundle import Bundle
from shared.layers.cells import Cells
from shared.query_body import join_body
from shared.schemas import Problem, QueryResponse
from tests.cloud.conftest import draw
from tests.cloud.test_cloud_plain import written

TOKENS = 24
IN_FLIGHT = 12
PATIENCE_S = 300.0
PROC = Path("/proc")


@dataclass
class Cluster:
    """A running application: its address, its process, and its log as it comes."""

    url: str
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    listens: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "Ray Serve listens on" in line:
                self.listens.set()
        self.listens.set()

    def replicas(self, deployment: str) -> list[int]:
        """Process ids of a deployment's replicas, below our own process."""
        title = f"ServeReplica:cotam:{deployment}"
        return [pid for pid in _below(self.process.pid) if title in _title(pid)]


@pytest.fixture(scope="module")
def cluster(talkative: Path) -> Iterator[Cluster]:
    """Two of each kind of replica; answers are as long as asked for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "COTAM_PORT": str(port),
        "COTAM_MLLM": str(talkative),
        "COTAM_THREADS": "1",
        "COTAM_DEADLINE_S": str(PATIENCE_S),
        "COTAM_PLAIN_PICTURES": "1",
        "COTAM_RAY_INGRESS": "2",
        **{f"COTAM_RAY_{name}": "2" for name in ("MIN_DECODERS", "MAX_DECODERS")},
        **{f"COTAM_RAY_{name}": "2" for name in ("MIN_MODELS", "MAX_MODELS")},
        # Two busy cores: the proxy may take long.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    }
    # Sockets live below this folder, and a socket's path has at most 107 characters.
    with TemporaryDirectory(prefix="ray") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "cloud_server.ray_app"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings, "RAY_TMPDIR": folder, "HOME": folder},
        )
        started = Cluster(f"http://127.0.0.1:{port}", process)
        reader = threading.Thread(target=started.read, daemon=True)
        reader.start()
        try:
            assert started.listens.wait(PATIENCE_S)
            assert process.poll() is None, "".join(started.log[-20:])
            yield started
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()
                reader.join(PATIENCE_S)
                assert process.stderr is not None
                process.stderr.close()


def ask(cluster: Cluster, number: int, **form: bytes | str) -> httpx.Response:
    files = {name: (None, value) for name, value in form.items()}
    files |= {"prompt": (None, f"what is number {number}?"), "max_new_tokens": (None, str(TOKENS))}
    return httpx.post(f"{cluster.url}/v1/query", files=files, timeout=PATIENCE_S)


def test_a_ray_that_is_none_is_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cloud_server.ray_app"],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": "nonsense"},
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1].startswith("cloud_server: Ray does not start: Invalid")
    assert "Traceback" not in ended.stderr


def test_it_is_the_same_interface(cluster: Cluster, stream: bytes) -> None:
    assert httpx.get(f"{cluster.url}/readyz").json() == {"status": "ok"}
    (model,) = httpx.get(f"{cluster.url}/v1/models").json()["data"]
    assert (model["id"], model["view"]) == ("talkative", "adapter")
    answer = QueryResponse.model_validate(ask(cluster, 0, bitstream=stream).json())
    assert answer.usage.completion_tokens == TOKENS
    assert min(vars(answer.timings_ms).values()) > 0
    streamed = ask(cluster, 0, bitstream=stream, stream="true").text
    pieces = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert "".join(piece["text"] for piece in pieces[:-1]) == answer.answer == pieces[-1]["answer"]
    kept = httpx.post(f"{cluster.url}/v1/images", files={"bitstream": stream}, timeout=PATIENCE_S)
    again = ask(cluster, 0, image_id=kept.json()["image_id"])
    assert (again.json()["answer"], again.json()["view"]) == (answer.answer, "adapter")


def post(cluster: Cluster, path: str, body: bytes, **query: str) -> httpx.Response:
    url, headers = f"{cluster.url}/v1/{path}", {"content-type": MEDIA_TYPE}
    return httpx.post(url, params=query, content=body, headers=headers, timeout=PATIENCE_S)


def test_several_pictures_and_plain_ones(cluster: Cluster, streams: list[bytes]) -> None:
    two = post(cluster, "query", join_body("hm?", streams[:2]), max_new_tokens="9").json()
    assert [image["bytes"] for image in two["images"]] == [len(stream) for stream in streams[:2]]
    ids = [post(cluster, "images", stream).json()["image_id"] for stream in streams[:2]]
    fields = [
        ("prompt", "hm?"),
        ("max_new_tokens", "9"),
        *(("image_id", image_id) for image_id in ids),
    ]
    files = [(name, (None, value)) for name, value in fields]
    kept = httpx.post(f"{cluster.url}/v1/query", files=files, timeout=PATIENCE_S).json()
    assert kept["answer"] == two["answer"]
    plain = ask(cluster, 0, bitstream=written(Image.fromarray(draw(80, 60)), "PNG")).json()
    assert (plain["view"], plain["image"]["codec"]) == ("original", "png")
    mixed = [("bitstream", streams[0]), ("bitstream", written(decode(streams[1]), "PNG"))]
    files = [*((n, ("picture", v)) for n, v in mixed), *files[:2]]
    both = httpx.post(f"{cluster.url}/v1/query", files=files, timeout=PATIENCE_S).json()
    assert [image["codec"] for image in both["images"]] == [two["image"]["codec"], "png"]


def test_a_cameras_frames_go_on_at_any_ingress(cluster: Cluster) -> None:
    """Decoders, which know the last frame, and ingresses, which keep it, are other processes."""
    shown = draw(96, 80)
    keys = []
    with EdgeClient(cluster.url, quality=3.0, threads=1) as client:
        camera = Camera()
        for number in range(4):
            shown[40:56, 16 * number : 16 * number + 16] = 60 * number
            frame = camera.frame(shown.copy(), float(number))
            attempt = client.attempt(Attempt(frame, "is the door open?", 2))
            assert attempt.error is None
            (clip,) = attempt.streams
            assert isinstance(clip, CodedClip)
            keys.append(clip.frames[0].is_key)
    assert keys == [True, False, False, False]


def test_every_ingress_finds_what_another_keeps(cluster: Cluster, bundle: Bundle) -> None:
    """Ray's proxy sends each request to any of the two."""
    coder = PictureCoder(bundle, quality=0.0, threads=1)
    sent, stays = (coder.code(draw(160, 96, 1)) for _ in range(2))
    stream = sent.stream.to_bytes()
    wish = {"ask_back": "1", "target_confidence": "1", "max_new_tokens": "2"}
    kept = post(cluster, "images", stream).json()["image_id"]

    def about(**query: str) -> httpx.Response:
        files = {"image_id": (None, kept), "prompt": (None, "hm?")}
        url = f"{cluster.url}/v1/query"
        return httpx.post(url, params=query, files=files, timeout=PATIENCE_S)

    for coded in (sent, stays, stays):
        once = coded is sent
        response = post(cluster, "query", b"hm?" + stream, **wish) if once else about(**wish)
        assert response.status_code == 202
        first = QueryResponse.model_validate_json(response.content)
        assert first.need is not None
        cells = Cells.decode(base64.b64decode(first.need.cells), 160, 96)
        path = f"query/{first.need.handle}/enhancement"
        assert _problem(post(cluster, path, stream)) == (400, "stream_foreign")
        body = coded.enhancement(cells, first.need.quality)
        second = QueryResponse.model_validate_json(post(cluster, path, body).content)
        assert second.need is None
        assert second.image.bytes == first.image.bytes + len(body)
        assert second.confidence != first.confidence
    assert about(max_new_tokens="2").json()["confidence"] == second.confidence
    url = f"{cluster.url}/v1/images/{kept}"
    assert httpx.delete(url, timeout=PATIENCE_S).status_code == 204
    assert _problem(about()) == (404, "not_found")


def test_errors_come_through_from_every_replica(cluster: Cluster, stream: bytes) -> None:
    parsed = Bitstream.from_bytes(stream)
    lies = Bitstream(
        parsed.codec_id,
        parsed.width,
        parsed.height,
        parsed.quality_code,
        parsed.check ^ 1,
        parsed.level_map,
        parsed.latents,
    )
    assert _problem(ask(cluster, 0, bitstream=b"no stream")) == (400, "stream_foreign")
    assert _problem(ask(cluster, 0, bitstream=lies.to_bytes())) == (422, "decoder_mismatch")
    control = {"bitstream": stream, "prompt": (None, "a <image>")}
    refused = httpx.post(f"{cluster.url}/v1/query", files=control, timeout=PATIENCE_S)
    assert _problem(refused) == (422, "field_invalid")


def test_nothing_is_lost_with_a_replica(cluster: Cluster, streams: list[bytes]) -> None:
    jobs = [(number, streams[number % len(streams)]) for number in range(IN_FLIGHT)]
    alone = [ask(cluster, number, bitstream=bits).json()["answer"] for number, bits in jobs]
    begun = threading.Event()

    def streamed(job: tuple[int, bytes]) -> str:
        form = {"bitstream": job[1], "prompt": (None, f"what is number {job[0]}?")}
        form |= {"max_new_tokens": (None, str(TOKENS)), "stream": (None, "true")}
        url = f"{cluster.url}/v1/query"
        with httpx.stream("POST", url, files=form, timeout=PATIENCE_S) as response:
            assert response.status_code == 200
            lines = []
            for line in response.iter_lines():
                lines.append(line)
                begun.set()
        return str(json.loads(lines[lines.index("event: done") + 1][6:])["answer"])

    with ThreadPoolExecutor(2 * IN_FLIGHT) as pool:
        plain = [pool.submit(ask, cluster, number, bitstream=bits) for number, bits in jobs]
        growing = [pool.submit(streamed, job) for job in jobs]
        assert begun.wait(PATIENCE_S)
        for deployment in ("Models", "Decoders"):
            os.kill(cluster.replicas(deployment)[0], signal.SIGKILL)
        assert [future.result().json().get("answer") for future in plain] == alone
        assert [future.result() for future in growing] == alone
    assert any("a replica was lost" in line for line in cluster.log)


def test_an_accepted_request_outlives_a_sigterm(cluster: Cluster, stream: bytes) -> None:
    whole = ask(cluster, 0, bitstream=stream).json()["answer"]
    form = {"bitstream": stream, "prompt": (None, "what is number 0?"), "stream": (None, "true")}
    form |= {"max_new_tokens": (None, str(TOKENS))}
    url = f"{cluster.url}/v1/query"
    with httpx.stream("POST", url, files=form, timeout=PATIENCE_S) as response:
        lines = response.iter_lines()
        assert next(lines) == "event: text"
        cluster.process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert json.loads(rest[rest.index("event: done") + 1][6:])["answer"] == whole
    assert cluster.process.wait(PATIENCE_S) == 0


def _problem(response: httpx.Response) -> tuple[int, str]:
    problem = Problem.model_validate_json(response.content)
    return response.status_code, problem.code


def _title(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_text()
    except OSError:
        return ""


def _below(root: int) -> list[int]:
    """Process ids of all descendants."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
            except OSError:
                continue
    pids = [root]
    for pid in pids:
        pids += [child for child, parent in parents.items() if parent == pid]
    return pids[1:]
