"""Clips at the server: frames in their order, what is lost of them, and files that are decoded."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cloud_server.cli import cli
from cloud_server.decoding import decode_clip
from cloud_server.inference.clip import Clip, ClipFrame
from cloud_server.inference.decoder import Decoder, device_of
from cloud_server.inference.mllm.base import Turn, VisualInput
from cloud_server.inference.work import Work
from edge_client import EdgeClient
from edge_client.coding.clip_coder import ClipCoder, ClipOptions, ClipSource
from edge_client.coding.coded_clip import CodedClip
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.clips import ALL
from scenes import Backgrounds
from scenes.motion import render_track
from shared.bitstream import MEDIA_TYPE as PICTURE_TYPE
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import StreamTooLarge
from shared.frames import MEDIA_TYPE, SUFFIX, Changes, Frame, Writer, read_frames
from shared.query_body import join_body

Serve = Callable[..., str]
SIZE = (128, 96)
COUNT = 6


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames of 128x96, a second apart."""
    folder = tmp_path_factory.mktemp("frames")
    track = render_track("test", 5, Backgrounds.builtin(), SIZE, frames=COUNT)
    for number, picture in enumerate(track.pictures):
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def coded(continuing_bundle: Bundle, frames: Path) -> CodedClip:
    pictures = PictureCoder(continuing_bundle, quality=3.0, threads=1)
    return ClipCoder(pictures, ClipOptions(ALL, every=4)).encode(str(frames))


@pytest.fixture(scope="module")
def patient(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The talkative model, with a context for many pictures."""
    folder = tmp_path_factory.mktemp("models") / "patient"
    shutil.copytree(talkative, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 8192
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def url(serve: Serve, continuing_bundle: Bundle, patient: Path) -> str:
    pixels = 8 * SIZE[0] * SIZE[1]
    return serve(bundle=str(continuing_bundle.root), mllm=str(patient), max_pixels=pixels)


def parts(clip: CodedClip) -> list[bytes]:
    """The head and each frame."""
    ends = np.cumsum([frame.size for frame in reversed(clip.frames)])
    starts = [len(clip.data) - int(end) for end in ends[::-1]]
    bounds = [0, *starts, len(clip.data)]
    return [clip.data[a:b] for a, b in itertools.pairwise(bounds)]


def ask(url: str, data: bytes, media_type: str = MEDIA_TYPE) -> httpx.Response:
    body, headers = join_body("how many circles are there?", [data]), {"content-type": media_type}
    return httpx.post(f"{url}/v1/query", content=body, headers=headers, timeout=300)


def test_all_frames_are_shown_in_their_order(url: str, coded: CodedClip) -> None:
    answer = ask(url, coded.data)
    assert answer.status_code == 200
    record = answer.json()
    assert [image["bytes"] for image in record["images"]] == [f.size for f in coded.frames]
    assert record["image"]["width"] == SIZE[0]
    assert record["view"] == "adapter"
    first_frame = ask(url, b"".join(parts(coded)[:2])).json()
    assert first_frame["images"] == []
    per_frame = (record["usage"]["prompt_tokens"] - first_frame["usage"]["prompt_tokens"]) / (
        COUNT - 1
    )
    assert per_frame > 10
    form = httpx.post(
        f"{url}/v1/query",
        data={"prompt": "how many circles are there?"},
        files={"bitstream": ("gate.cotamf", coded.data, MEDIA_TYPE)},
        timeout=300,
    )
    assert form.json()["answer"] == record["answer"]
    assert ask(url, coded.data, PICTURE_TYPE).json()["answer"] == record["answer"]


def test_a_model_with_a_video_input_is_shown_them_as_one(
    serve: Serve, continuing_bundle: Bundle, qwen: Path, coded: CodedClip
) -> None:
    url = serve(bundle=str(continuing_bundle.root), mllm=str(qwen))
    first_frame = ask(url, b"".join(parts(coded)[:2])).json()
    three_frames = ask(url, b"".join(parts(coded)[:4])).json()
    assert len(three_frames["images"]) == 3
    # A token of its video is of two frames: three take those of two pictures at most.
    tokens = [response["usage"]["prompt_tokens"] for response in (first_frame, three_frames)]
    assert tokens[0] < tokens[1] <= 2 * tokens[0]


def test_frames_of_an_earlier_turn_stay_with_it(coded: CodedClip, streams: list[bytes]) -> None:
    """Shown as pictures and as one clip; a picture came with the question."""
    clip = Clip(coded.data)
    first, *others = (Work(ClipFrame(clip, index)) for index in range(3))
    others.append(Work(Bitstream.from_bytes(streams[0])))
    first.prompt, first.others = "and now?", tuple(others)
    first.history = (Turn("user", "did anyone come in?", 1), Turn("assistant", "no"))
    shown = [[turn.shown for turn in first.turns(as_clips)] for as_clips in (False, True)]
    assert shown == [[(1, 1, 1), (), (1,)], [(3,), (), (1,)]]
    picture, whole = (VisualInput("picture", None, 0, frames) for frames in (1, 3))
    first.visual = picture
    for work in others:
        work.visual = picture
    assert [turn.pictures for turn in first.request().turns] == [3, 0, 1]
    first.visual, others[0].visual, others[1].visual = whole, None, None
    assert [turn.shown for turn in first.request().turns] == [(3,), (), (1,)]


def test_a_model_without_room_for_them_says_so(
    serve: Serve, continuing_bundle: Bundle, coded: CodedClip
) -> None:
    refused = ask(serve(bundle=str(continuing_bundle.root)), coded.data)
    assert refused.status_code == 422
    assert "fewer pictures" in refused.json()["hint"]


def test_the_edge_sends_a_folder_and_a_coded_clip(
    url: str, frames: Path, coded: CodedClip, continuing_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / f"gate{SUFFIX}"
    path.write_bytes(coded.data)
    with EdgeClient(url, bundle=continuing_bundle, quality=3.0, threads=1) as client:
        source = ClipSource(str(frames), ClipOptions(ALL, every=4))
        answers = [client.ask(each, "how many circles are there?") for each in (source, path)]
    assert answers[0].images == answers[1].images
    assert answers[0].answer == answers[1].answer
    assert sum(image.bytes for image in answers[0].images) <= len(coded.data)


def test_a_lost_frame_costs_those_up_to_the_next_keyframe(url: str, coded: CodedClip) -> None:
    every = parts(coded)
    sizes = [frame.size for frame in coded.frames]
    assert coded.frames[4].is_key
    lossy = ask(url, b"".join(every[:2] + every[3:])).json()
    assert [image["bytes"] for image in lossy["images"]] == [sizes[0], sizes[4], sizes[5]]
    cut = ask(url, coded.data[:-1]).json()
    assert [image["bytes"] for image in cut["images"]] == sizes[:5]


def test_what_is_no_clip_is_refused(url: str, coded: CodedClip) -> None:
    every = parts(coded)
    no_frame = ask(url, every[0])
    assert (no_frame.status_code, no_frame.json()["code"]) == (400, "stream_truncated")
    no_key = ask(url, every[0] + every[2])
    assert (no_key.status_code, no_key.json()["code"]) == (400, "stream_corrupt")
    head = ask(url, coded.data[:5] + b"x" + coded.data[6:])
    assert (head.status_code, head.json()["code"]) == (400, "stream_corrupt")
    kept = httpx.post(
        f"{url}/v1/images", content=coded.data, headers={"content-type": MEDIA_TYPE}, timeout=300
    )
    assert (kept.status_code, kept.json()["code"]) == (400, "stream_foreign")


def test_frames_have_the_limit_of_pictures(serve: Serve, url: str, coded: CodedClip) -> None:
    many = parts(coded)[0] + b"".join(parts(coded)[1:])
    assert ask(url, many).status_code == 200
    repeated = _longer(coded, 9)
    refused = ask(url, repeated)
    assert (refused.status_code, refused.json()["code"]) == (413, "stream_too_large")
    with pytest.raises(StreamTooLarge, match="more than 3 frames"):
        Clip(coded.data, most=3)


def _longer(clip: CodedClip, count: int) -> bytes:
    """Its first frame, and that nothing changed, so often."""
    first = next(iter(read_frames(clip.data)))
    assert isinstance(first, Frame)
    writer = Writer(clip.header)
    frames = [writer.add(first.body if n == 0 else None, n) for n in range(count)]
    return writer.head + b"".join(frames)


def test_frames_of_other_symbols_are_a_mismatch(url: str, coded: CodedClip) -> None:
    writer = Writer(coded.header)
    data = writer.head
    for frame in read_frames(coded.data):
        assert isinstance(frame, Frame)
        body = frame.body
        if isinstance(body, Changes):
            body = replace(body, check=body.check ^ 1)
        data += writer.add(body, frame.time)
    refused = ask(url, data)
    assert (refused.status_code, refused.json()["code"]) == (422, "decoder_mismatch")


def test_a_clip_can_be_read_twice(coded: CodedClip, continuing_bundle: Bundle) -> None:
    decoder = Decoder(continuing_bundle, device_of("cpu"))
    clip = Clip(coded.data)
    once, again = (
        [decoder.decode(ClipFrame(clip, n)).picture for n in range(COUNT)] for _ in range(2)
    )
    assert np.array_equal(once, again)


def test_decode_writes_a_folder_or_a_clip(
    coded: CodedClip, continuing_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / f"gate{SUFFIX}"
    path.write_bytes(coded.data)
    bundle = ("--bundle", str(continuing_bundle.root))
    run: Callable[..., Any] = lambda *words: CliRunner().invoke(cli, ["decode", *map(str, words)])  # noqa: E731
    assert run(path, *bundle).exit_code == 0
    files = sorted((tmp_path / "gate.decoded").iterdir())
    assert len(files) == COUNT
    times, images = zip(*decode_clip(path, bundles=[continuing_bundle.root]), strict=True)
    assert times == tuple(float(n) for n in range(COUNT))
    with Image.open(files[3]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(images[3]))
    refused = run(path, *bundle)
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert run(path, *bundle, "-f").exit_code == 0
    av = pytest.importorskip("av")
    out = tmp_path / "gate.mp4"
    assert run(path, "-o", out, *bundle).exit_code == 0
    with av.open(str(out)) as container:
        assert [round(float(f.time)) for f in container.decode(video=0)] == list(range(COUNT))
    path.write_bytes(coded.data[:20])
    assert run(path, "-o", tmp_path / "broken", *bundle).exit_code == 1
    assert not (tmp_path / "broken").exists()
