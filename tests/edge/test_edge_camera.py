"""A camera's last frame is kept, and the next clip goes on from it; nobody else's does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cloud_server.guard.keys import hash_key, new_key
from cloud_server.inference.image_store import ImageStore, Kept, LastFrame
from cloud_server.inference.mllm.base import VisualInput
from edge_client import EdgeClient
from edge_client.coding.coded_clip import CodedClip
from edge_client.coding.picture_coder import PictureCoder
from edge_client.server.camera import Camera
from edge_client.server.exchange import Attempt
from edge_client.server.retries import Retries
from edge_client.spool.store import Spool
from scenes import Backgrounds
from scenes.motion import render_track
from shared.bundle import ENTROPY, Bundle
from shared.clips.frame_walk import FrameWalk
from shared.clips.kept_frame import KeptFrame
from shared.entropy_model import EntropyModel
from shared.errors import BaseUnknown, NotFound, ServerUnreachable, UsageError
from shared.frames import MEDIA_TYPE, Frame, Header, Writer, read_base, read_frames
from shared.query_body import join_body
from shared.schemas import ImageInfo

Serve = Callable[..., str]
SIZE = (128, 96)
KEYS = {name: new_key() for name in ("mine", "yours")}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """A still camera and things that move, u8 [6, 96, 128, 3]."""
    return render_track("test", 5, Backgrounds.builtin(), SIZE, frames=6).pictures


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve(
        api_keys=",".join(f"{name}={hash_key(key)}" for name, key in KEYS.items()), images=2
    )


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[EdgeClient]:
    with EdgeClient(url, api_key=KEYS["mine"], quality=3.0, threads=1) as client:
        yield client


def ask(client: EdgeClient, camera: Camera, picture: np.ndarray, time: float) -> Attempt:
    """About a frame, in one word at most."""
    attempt = Attempt(camera.frame(picture, time), "how many circles are there?", 1)
    return client.attempt(attempt)


def clip_of(attempt: Attempt) -> CodedClip:
    assert attempt.error is None
    (clip,) = attempt.streams
    assert isinstance(clip, CodedClip)
    return clip


def post(url: str, data: bytes, caller: str = "mine", **options: Any) -> httpx.Response:
    headers = {"content-type": MEDIA_TYPE, "authorization": f"Bearer {KEYS[caller]}"}
    body = join_body("how many circles are there?", [data])
    params = {"max_new_tokens": 1, **options}
    return httpx.post(f"{url}/v1/query", content=body, params=params, headers=headers, timeout=300)


def test_only_what_changed_is_sent(client: EdgeClient, pictures: np.ndarray) -> None:
    """That a third frame is taken shows that the server's second is the edge's."""
    camera = Camera()
    clips, ids = [], []
    for number, picture in enumerate([*pictures[:3], pictures[2]]):
        attempt = ask(client, camera, picture, 100.0 + number)
        clips.append(clip_of(attempt))
        assert attempt.answer
        ids.append(attempt.answer.image_id)
    assert [clip.frames[0].is_key for clip in clips] == [True, False, False, False]
    assert [read_base(clip.data) is None for clip in clips] == [True, False, False, False]
    assert len(set(ids)) == 1
    assert ids[0].startswith("img_")
    sizes = [len(clip.data) for clip in clips]
    assert max(sizes[1:]) < 0.6 * sizes[0]
    assert clips[2].frames[0].time == 1000
    # Nothing changed: head, base, and a frame of six bytes or seven.
    assert sizes[3] < 40


def test_an_edge_sends_a_keyframe_by_itself_where_its_frame_is_gone(
    client: EdgeClient, url: str, pictures: np.ndarray
) -> None:
    camera = Camera()
    first = ask(client, camera, pictures[0], 0.0)
    assert first.answer
    headers = {"authorization": f"Bearer {KEYS['mine']}"}
    path = f"{url}/v1/images/{first.answer.image_id}"
    assert httpx.delete(path, headers=headers).status_code == 204
    second = ask(client, camera, pictures[1], 1.0)
    assert clip_of(second).frames[0].is_key
    assert second.answer
    assert second.answer.image_id not in ("", first.answer.image_id)
    assert not clip_of(ask(client, camera, pictures[2], 2.0)).frames[0].is_key
    # Two are kept: the frames of two other cameras take the places of this one's.
    for _ in range(2):
        assert ask(client, Camera(), pictures[0], 0.0).answer
    assert clip_of(ask(client, camera, pictures[3], 3.0)).frames[0].is_key


def test_another_size_begins_anew(client: EdgeClient, pictures: np.ndarray) -> None:
    camera = Camera()
    ask(client, camera, pictures[0], 0.0)
    assert clip_of(ask(client, camera, pictures[1, :80], 1.0)).frames[0].is_key
    assert not clip_of(ask(client, camera, pictures[2, :80], 2.0)).frames[0].is_key


def test_a_frame_that_is_not_here_is_a_conflict(
    client: EdgeClient, url: str, pictures: np.ndarray
) -> None:
    camera = Camera()
    first = ask(client, camera, pictures[0], 0.0)
    assert first.answer
    image_id = first.answer.image_id
    data = camera.code(client, camera.frame(pictures[1], 1.0)).data
    base = read_base(data)
    assert base is not None
    refused = [
        post(url, data),
        post(url, data, continues="img_nothing"),
        post(url, data, "yours", continues=image_id),
        post(url, rebased(data, base ^ 1), continues=image_id),
        post(url, rebased(data, base, height=64), continues=image_id),
    ]
    codes = {(response.status_code, response.json()["code"]) for response in refused}
    assert codes == {(409, "base_unknown")}
    assert all("keyframe" in response.json()["hint"] for response in refused)
    # None of them cost the frame: it can still be gone on from, and only once.
    kept = post(url, data, continues=image_id, keep=True).json()
    assert kept["image_id"] == image_id
    assert post(url, data, continues=image_id).json()["code"] == "base_unknown"
    asked = {"image_id": (None, image_id), "prompt": (None, "hm?")}
    headers = {"authorization": f"Bearer {KEYS['mine']}"}
    about = httpx.post(f"{url}/v1/query", files=asked, headers=headers, timeout=300)
    assert (about.status_code, about.json()["code"]) == (404, "not_found")


def rebased(data: bytes, base: int, height: int = SIZE[1]) -> bytes:
    """The clip of one frame, naming another base, or of another height."""
    (frame,) = read_frames(data)
    assert isinstance(frame, Frame)
    header = Header(data[3:7], SIZE[0], height, 65_535)
    writer = Writer(header, base)
    return writer.head + writer.add(frame.body, frame.time)


def test_only_one_clip_is_kept_or_gone_on_from(
    client: EdgeClient, url: str, pictures: np.ndarray
) -> None:
    picture = client.encode(pictures[0]).to_bytes()
    for options in ({"keep": True}, {"continues": "img_x"}):
        refused = post(url, picture, **options)
        assert (refused.status_code, refused.json()["code"]) == (422, "field_invalid")
        assert "one clip" in refused.json()["detail"]
    long = post(url, picture, continues="x" * 65)
    assert (long.status_code, long.json()["code"]) == (422, "field_invalid")


def test_what_cannot_be_sent_waits_whole(
    client: EdgeClient, pictures: np.ndarray, bundle: Bundle, tmp_path: Path
) -> None:
    """A clip that goes on from a frame is of no use once that is gone."""
    camera = Camera()
    assert ask(client, camera, pictures[0], 0.0).answer
    with EdgeClient("http://127.0.0.1:9", bundle=bundle, threads=1, retries=Retries(0)) as away:
        attempt = ask(away, camera, pictures[1], 1.0)
    assert isinstance(attempt.error, ServerUnreachable)
    assert attempt.can_wait
    assert attempt.query is not None
    assert read_base(attempt.query.stream) is None
    assert (attempt.query.keep, attempt.query.continues) == (False, "")
    spool = Spool(tmp_path / "spool")
    answer = client.submit(spool.read(spool.add(attempt.query, "gate")).query)
    assert answer.image_id == ""
    assert clip_of(ask(client, camera, pictures[2], 2.0)).frames[0].is_key


def test_kept_frames_live_from_the_last_that_came(bundle: Bundle, pictures: np.ndarray) -> None:
    now = [0.0]
    model = EntropyModel.load(bundle.path(ENTROPY))
    camera = Camera()
    clip = camera.code(PictureCoder(bundle, threads=1), camera.frame(pictures[0], 0.0))
    walk = FrameWalk(model, clip.header)
    (frame,) = read_frames(clip.data)
    assert isinstance(frame, Frame)
    walk.read(frame.body)
    kept = KeptFrame.of(walk)
    latents = bundle.manifest.codec.latent_channels * 6 * 8
    assert 8 * latents < kept.size < 10 * latents
    store = ImageStore(9, 3 * kept.size, 10.0, clock=lambda: now[0])
    name = store.put("me", LastFrame(kept))
    image = ImageInfo(width=1, height=1, bytes=1, bpp=8.0, codec="")
    store.put("me", Kept(VisualInput("picture", None, 9), image))
    now[0] = 9.0
    assert store.move_on("me", name, kept) == name
    assert store.bytes == kept.size + 9
    now[0] = 18.0
    assert store.frame("me", name) is kept
    assert store.frame("you", name) is None
    assert store.bytes == kept.size
    now[0] = 19.0
    assert store.frame("me", name) is None
    assert store.move_on("me", name, kept) not in ("", name)
    for _ in range(3):
        store.put("me", LastFrame(replace(kept)))
    assert (len(store), store.bytes) == (3, 3 * kept.size)
    with pytest.raises(NotFound):
        store.delete("you", name)


def test_a_clip_without_its_base_says_so(
    cli: Any, client: EdgeClient, bundle: Bundle, pictures: np.ndarray, tmp_path: Path
) -> None:
    from cloud_server.decoding import decode_clip

    camera = Camera()
    ask(client, camera, pictures[0], 0.0)
    data = clip_of(ask(client, camera, pictures[1], 1.0)).data
    path = tmp_path / "one.cotamf"
    path.write_bytes(data)
    with pytest.raises(BaseUnknown, match="a frame that is not here"):
        list(decode_clip(path, bundles=[bundle.root]))
    shown = cli("inspect", path)
    assert (shown.code, "goes on from" in shown.out) == (0, True)
    completed = cli("inspect", path, "--verify")
    assert (completed.code, len(completed.err.splitlines())) == (1, 1)
    narrow = PictureCoder(bundle, budget=900, threads=1)
    with pytest.raises(UsageError, match="--budget"):
        camera.code(narrow, camera.frame(pictures[0], 0.0))


def test_the_command_asks_about_frames_as_they_come(
    cli: Any, url: str, pictures: np.ndarray, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "gate.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for picture in (pictures[0], pictures[0], pictures[1], pictures[2]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    question = ("is the door open?", "--camera", path, "--max-new-tokens", "1", "-q", "3")
    place = ("--server", url, "--api-key", KEYS["mine"])
    completed = cli("send", *question, *place)
    assert completed.code == 0, completed.err
    assert [line.split("\t")[0] for line in completed.out.splitlines()] == [
        f"{path}#{number}" for number in range(4)
    ]
    changed = cli("send", *question, *place, "--on-change")
    assert [line.split("\t")[0][-2:] for line in changed.out.splitlines()] == ["#0", "#2", "#3"]
    for flags in (("--budget", "2kB"), ("--watch", tmp_path), ("--together", "--camera", path)):
        refused = cli("send", *question, *flags)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)


def test_pictures_that_come_into_a_folder_are_a_cameras_frames(
    client: EdgeClient, pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_client.cli.camera import camera_frames

    path = tmp_path / "now.png"
    Image.fromarray(pictures[0]).save(path)
    data = path.read_bytes()
    arriving = iter([(path, data), (path, data)])
    monkeypatch.setattr("edge_client.pictures.watch.new_pictures", lambda _: arriving)
    sizes = []
    for name, frame in camera_frames(str(tmp_path), None, False, client):
        attempt = client.attempt(Attempt(frame, "is the door open?", 1, name))
        sizes.append(len(clip_of(attempt).data))
    assert len(sizes) == 2
    assert sizes[1] < 40
