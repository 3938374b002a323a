"""An edge and a server that are killed in the middle of a clip, and how each goes on.

Real processes: a server that is started anew where it was killed, at the same address, with a
model behind it that answers at once, and edges that die while they wait for their answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import numpy as np
import pytest
from PIL import Image

from edge_client import EdgeClient
from edge_client.coding.clip_coder import ClipOptions, ClipSource
from edge_client.coding.coded_clip import CodedClip
from edge_client.pictures.clips import ALL
from edge_client.server.camera import Camera
from edge_client.server.exchange import Attempt
from edge_client.server.retries import Retries
from scenes import Backgrounds
from scenes.motion import render_track
from tests.upstreaming import Stub, small_upstream

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

SERVER = """
import os, socket, sys
import uvicorn
import cloud_server.inference.engine  # what takes long is there before a server begins
from cloud_server.app import create_app
from cloud_server.server import configuration
from cloud_server.settings import load_settings

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
status = signalled = 9
while status == signalled:
    child = os.fork()
    if child == 0:
        app = create_app(load_settings(mllm=sys.argv[1], threads=1))
        uvicorn.Server(configuration(app)).run(sockets=[listener])
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
"""
EDGE = """
import os, sys
import numpy as np
from edge_client import EdgeClient
from edge_client.server.camera import Camera
from edge_client.server.exchange import Attempt
from edge_client.server.retries import Retries

url, pictures = sys.argv[1], np.load(sys.argv[2])
client = EdgeClient(url, quality=3.0, threads=1, retries=Retries(100))
client.encode(pictures[0])  # loads what forked processes then have
for _ in range(3):
    child = os.fork()
    if child == 0:
        camera = Camera()
        for number, picture in enumerate(pictures[:3]):
            prompt = f"{os.getpid()} frame {number}"
            attempt = client.attempt(Attempt(camera.frame(picture, float(number)), prompt))
            print(attempt.answer.answer, attempt.streams[0].frames[0].is_key, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "whole", flush=True)
"""


@dataclass
class Server:
    """The server as it runs, and the model behind it."""

    url: str
    stub: Stub
    said: IO[str]
    pids: list[int] = field(default_factory=list)

    def kill(self) -> None:
        """Kill it; the next begins."""
        os.kill(self.pids[-1], signal.SIGKILL)
        self.pids.append(int(self.said.readline()))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        small_upstream() as stub,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, stub.url],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        running = Server(url, stub, process.stdout, [int(process.stdout.readline())])
        try:
            yield running
        finally:
            process.kill()
            os.kill(running.pids[-1], signal.SIGKILL)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """A still camera and things that move, u8 [6, 96, 128, 3]."""
    return render_track("test", 5, Backgrounds.builtin(), (128, 96), frames=6).pictures


def test_a_killed_server_costs_a_keyframe_and_a_clip_is_sent_again(
    server: Server, pictures: np.ndarray, tmp_path: Path
) -> None:
    """It dies while it answers about a camera's frame, and while it answers about a clip."""
    left = ["frame 1", "clip"]

    def die(prompt: str) -> None:
        if prompt in left:
            left.remove(prompt)
            server.kill()

    server.stub.before = die
    keys = []
    patient = Retries(100)  # a server on a busy machine takes its time to begin
    with EdgeClient(server.url, quality=3.0, threads=1, retries=patient) as client:
        camera = Camera()
        for number, picture in enumerate(pictures[:3]):
            prompt = f"frame {number}"
            attempt = client.attempt(Attempt(camera.frame(picture, float(number)), prompt))
            assert attempt.result().answer == prompt
            (clip,) = attempt.streams
            assert isinstance(clip, CodedClip)
            keys.append(clip.frames[0].is_key)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / f"{number}.png")
        answer = client.ask(ClipSource(str(tmp_path), ClipOptions(ALL)), "clip")
    assert keys == [True, True, False]
    assert (answer.answer, len(answer.images)) == ("clip", len(pictures))
    assert (left, len(server.pids)) == ([], 3)


def test_a_killed_edge_leaves_nothing_behind_and_begins_anew(
    server: Server, pictures: np.ndarray, tmp_path: Path
) -> None:
    """Two die while the server answers about their second frames; the third goes its way."""
    killed: list[int] = []

    def kill(prompt: str) -> None:
        pid, _, number = prompt.split() if "frame" in prompt else ("0", "", "")
        if number == "1" and len(killed) < 2:
            killed.append(int(pid))
            os.kill(killed[-1], signal.SIGKILL)

    server.stub.before = kill
    file = tmp_path / "pictures.npy"
    np.save(file, pictures)
    completed = subprocess.run(
        [sys.executable, "-c", EDGE, server.url, file],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert completed.returncode == 0, completed.stderr
    lines = [line.partition(" ")[2] or line for line in completed.stdout.splitlines()]
    first = "frame 0 True"
    assert lines == [
        *(first, "killed"),
        *(first, "killed"),
        *(first, "frame 1 False", "frame 2 False", "whole"),
    ]
    metrics = httpx.get(f"{server.url}/metrics").text
    assert "cotam_requests_inside 0.0" in metrics
    assert "cotam_images 3.0" in metrics  # a frame of each; those of the dead go with their time
