"""Clips at the edge: what is read of them, what is coded, and what of it the reader gets back."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_client.coding.clip_coder import ClipCoder, ClipOptions
from edge_client.coding.clip_encoder import ClipEncoder
from edge_client.coding.encoder import Encoder
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.clips import ALL, MOST_FRAMES, Pick, shots
from edge_client.spool.store import Spool
from scenes import Backgrounds
from scenes.motion import render_track
from shared.bundle import Bundle, open_bundle
from shared.clips.frame_walk import FrameWalk
from shared.errors import PictureTooLarge, PictureUnreadable, UsageError
from shared.frames import Changes, Frame, Header, Writer, read_frames

av = pytest.importorskip("av")

SIZE = (128, 96)
Pictures = Sequence[np.ndarray]


@pytest.fixture(scope="module")
def moving() -> np.ndarray:
    """A still camera and things that move, u8 [12, 96, 128, 3]."""
    track = render_track("test", 5, Backgrounds.builtin(), SIZE, frames=12)
    assert track.still
    return track.pictures


def write(
    path: Path, pictures: Pictures, times: Sequence[int] | None = None, codec: str = "libx264"
) -> Path:
    """A clip with a frame every 250 ms, or at the times in ms."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=4)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[number] if times else 250 * number
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(moving: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "gate.mp4", moving)


@pytest.fixture(scope="module")
def continuing_encoder(continuing_bundle: Bundle) -> Encoder:
    return Encoder(continuing_bundle, threads=1)


@pytest.fixture
def pictures(continuing_bundle: Bundle) -> PictureCoder:
    return PictureCoder(continuing_bundle, quality=3.0, threads=1)


# -- reading


def test_frames_are_picked_evenly_by_rate_or_all(clip: Path) -> None:
    times = [[shot.time for shot in shots(str(clip), pick, None)] for pick in PICKS]
    assert times[0] == [0.0, 1.0, 1.75, 2.75]
    assert times[1] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert times[2] == [0.25 * n for n in range(12)]
    assert times[3] == [0.0]


PICKS = (Pick(4), Pick(None, 2.0), ALL, Pick(1))


def test_frames_come_scaled_and_look_as_they_should(clip: Path, moving: np.ndarray) -> None:
    small = list(shots(str(clip), ALL, 64))
    assert small[0].picture.shape == (48, 64, 3)
    whole = list(shots(str(clip), ALL, None))
    assert np.abs(whole[7].picture.astype(int) - moving[7]).mean() < 8


def test_times_of_a_variable_rate_are_those_of_the_frames(
    moving: np.ndarray, tmp_path: Path
) -> None:
    times = [0, 100, 150, 900, 4000, 4100, 30_000, 30_200]
    path = write(tmp_path / "vfr.mkv", moving[:8], times)
    taken = [round(1000 * shot.time) for shot in shots(str(path), ALL, None)]
    assert taken == times
    spread = [round(1000 * shot.time) for shot in shots(str(path), Pick(3), None)]
    assert spread[0] == 0
    assert spread[-1] >= 30_000


def test_far_apart_frames_are_sought_not_read(tmp_path: Path, moving: np.ndarray) -> None:
    """Ten hours with a frame a minute: eight of them."""
    times = [60_000 * n for n in range(600)]
    path = write(tmp_path / "day.mkv", [moving[n % 12] for n in range(600)], times)
    taken = [shot.time for shot in shots(str(path), Pick(8), 64)]
    assert len(taken) == 8
    assert taken[0] == 0.0
    assert taken[-1] >= 35_000
    with pytest.raises(UsageError, match=f"limit of {MOST_FRAMES}"):
        list(shots(str(path), Pick(None, 30.0), 64))


def test_rotation_is_applied(clip: Path, tmp_path: Path) -> None:
    """The matrix of the track's header says: a quarter turn."""
    data = bytearray(clip.read_bytes())
    place = data.find(b"tkhd") + 4 + 40
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[place : place + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in quarter)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    straight = next(shots(str(clip), Pick(1), None)).picture
    rotated = next(shots(str(turned), Pick(1), None)).picture
    assert rotated.shape == (128, 96, 3)
    assert np.array_equal(rotated, np.rot90(straight, -1))


def test_what_is_no_clip_ends_in_one_clear_line(clip: Path, tmp_path: Path, cli: Any) -> None:
    whole = clip.read_bytes()
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    bad = {
        "sound.mkv": (sound.read_bytes(), "has no video stream"),
        "text.mp4": (b"no clip at all" * 99, "cannot be decoded as a clip"),
        "empty.mp4": (b"", "cannot be decoded as a clip"),
        "cut.mp4": (whole[: len(whole) // 2], "cannot be decoded as a clip"),
        "list.mp4": (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n", "cannot be decoded"),
    }
    for name, (data, said) in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        completed = cli("encode", path)
        assert completed.code == 3
        assert said in completed.err
        assert len(completed.err.splitlines()) == 1
        assert not path.with_suffix(".cotamf").exists()
    missing = cli("encode", tmp_path / "nowhere.mp4")
    assert (missing.code, len(missing.err.splitlines())) == (2, 1)
    device = cli("encode", "/dev/null")
    assert (device.code, len(device.err.splitlines())) == (3, 1)
    assert "/dev/null cannot be read as a camera: it is another kind of device" in device.err


def test_huge_frames_are_refused_before_they_are_decoded(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_client.pictures.clips.MAX_PIXELS", 128 * 96 - 1)
    with pytest.raises(PictureTooLarge, match="128x96"):
        list(shots(str(clip), Pick(1), None))


def test_8k_is_scaled_as_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "8k.mp4", [np.full((4320, 7680, 3), 99, np.uint8)], codec="mpeg4")
    (shot,) = shots(str(path), Pick(1), 256)
    assert shot.picture.shape == (144, 256, 3)


def test_without_pyav_the_line_names_the_extra(
    clip: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    completed = cli("encode", clip)
    assert completed.code == 2
    assert "'.[video]'" in completed.err
    assert len(completed.err.splitlines()) == 1


def test_frames_that_change_their_size_end_in_one_line(
    moving: np.ndarray, tmp_path: Path, cli: Any
) -> None:
    """As those of a recorder that was turned: transport streams can be joined."""
    path = tmp_path / "turned.ts"
    small = [np.ascontiguousarray(picture[:80, :112]) for picture in moving[4:8]]
    first = write(tmp_path / "first.ts", moving[:4], [0, 250, 500, 750])
    then = write(tmp_path / "then.ts", small, [1000, 1250, 1500, 1750])
    path.write_bytes(first.read_bytes() + then.read_bytes())
    completed = cli("encode", path, "--frames", "all")
    assert completed.code == 3
    assert "has another size, 112x80, than those before it, 128x96" in completed.err
    assert len(completed.err.splitlines()) == 1
    assert not path.with_suffix(".cotamf").exists()


def test_a_clip_without_frames_and_one_that_breaks_off(
    moving: np.ndarray, tmp_path: Path, cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a head is an error; of what breaks off, frames are taken and the end is told."""
    with av.open(str(tmp_path / "head.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=4)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        container.start_encoding()
    head = cli("encode", tmp_path / "head.mkv")
    assert (head.code, len(head.err.splitlines())) == (3, 1)
    assert "cannot be decoded as a clip" in head.err
    path = write(tmp_path / "whole.mkv", moving, codec="ffv1")
    whole = path.read_bytes()
    assert cli("encode", path).code == 0
    assert not caplog.messages
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(whole[: len(whole) // 2])
    completed = cli("encode", broken, "--frames", "all")
    assert completed.code == 0
    (message,) = caplog.messages
    assert message == f"{broken}: the last frame that can be decoded is that at 1.0 s of 3.0 s"
    assert cli("encode", broken, "-o", tmp_path / "one.cotamf", "--frames", "1").code == 0
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("form", ["gray", "yuv420p10le", "bgra"])
def test_other_forms_of_pixels_are_read(form: str, moving: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "pixels.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=4)
        stream.height, stream.width, stream.pix_fmt = 96, 128, form
        container.mux(stream.encode(av.VideoFrame.from_ndarray(moving[0], format="rgb24")))
        container.mux(stream.encode(None))
    (shot,) = shots(str(path), ALL, None)
    shades = moving[0].astype(int)
    wanted = shades @ [0.299, 0.587, 0.114] if form == "gray" else shades
    shown = shot.picture[..., 0] if form == "gray" else shot.picture
    assert np.abs(shown - wanted).mean() < 4


def test_a_folder_of_frames_is_a_clip(
    moving: np.ndarray, tmp_path: Path, pictures: PictureCoder
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(moving[:5]):
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    coded = ClipCoder(pictures, ClipOptions(ALL)).encode(str(folder))
    assert [frame.time for frame in coded.frames] == [0, 1000, 2000, 3000, 4000]
    Image.fromarray(moving[0][:64]).save(folder / "005.png")
    with pytest.raises(PictureUnreadable, match=r"at 5\.0 s has another size, 128x64"):
        ClipCoder(pictures, ClipOptions(ALL)).encode(str(folder))


# -- coding


def test_the_reader_has_what_the_writer_has(
    continuing_encoder: Encoder, moving: np.ndarray
) -> None:
    header = Header(continuing_encoder.bundle.codec_id, *SIZE, every=5)
    clips, writer = ClipEncoder(continuing_encoder, header), Writer(header)
    data, latents = writer.head, []
    for number, picture in enumerate(moving):
        analysed = clips.analyse(picture)
        coded = clips.code(analysed, clips.moved(analysed), 60)
        clips.take(analysed, coded)
        data += writer.add(coded.body, 250 * number)
        latents.append(continuing_encoder.model.latent(coded.known))
    walk = FrameWalk(continuing_encoder.model, header)
    frames = list(read_frames(data))
    for frame, latent in zip(frames, latents, strict=True):
        assert isinstance(frame, Frame)
        walk.read(frame.body)
        assert np.array_equal(walk.latent(), latent)
    keys = [isinstance(frame, Frame) and frame.is_key for frame in frames]
    assert [n for n, key in enumerate(keys) if key] == [0, 5, 10]
    assert any(isinstance(f, Frame) and isinstance(f.body, Changes) for f in frames)


def test_a_still_camera_sends_six_bytes_a_frame(pictures: PictureCoder, tmp_path: Path) -> None:
    picture = render_track("test", 5, Backgrounds.builtin(), SIZE).pictures[0]
    folder = tmp_path / "still"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    coded = ClipCoder(pictures, ClipOptions(ALL)).encode(str(folder))
    assert [frame.moved for frame in coded.frames[1:]] == [0.0] * 11
    # A time of 1,000 ticks takes a byte more.
    assert [frame.size for frame in coded.frames[1:]] == [7] * 11
    changed = ClipCoder(pictures, ClipOptions(ALL, on_change=True)).encode(str(folder))
    assert len(changed.frames) == 1


def test_a_budget_and_a_rate_hold(pictures: PictureCoder, clip: Path) -> None:
    free = ClipCoder(pictures, ClipOptions(Pick(6))).encode(str(clip))
    budget = len(free.data) * 2 // 3
    within = ClipCoder(pictures, ClipOptions(Pick(6), budget=budget)).encode(str(clip))
    assert budget * 0.7 < len(within.data) <= budget
    with pytest.raises(UsageError, match="smallest stream of its 6 frames has"):
        ClipCoder(pictures, ClipOptions(Pick(6), budget=60)).encode(str(clip))
    rate = 100.0
    thin = ClipCoder(pictures, ClipOptions(ALL, rate=rate)).encode(str(clip))
    first = thin.frames[0].size
    spent = np.cumsum([frame.size for frame in thin.frames])
    allowed = [first + rate * (frame.time / 1000 + 2.0) for frame in thin.frames]
    assert (spent <= np.array(allowed) + 24).all()


def test_a_codec_that_cannot_go_on_sends_keyframes(clip: Path) -> None:
    coder = PictureCoder(open_bundle("tiny-joint"), quality=1.0, threads=1)
    assert not coder.encoder.model.goes_on
    coded = ClipCoder(coder, ClipOptions(Pick(3))).encode(str(clip))
    assert all(frame.is_key or frame.moved == 0 for frame in coded.frames)


# -- the command line


def test_encode_inspect_and_map(
    cli: Any, clip: Path, continuing_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = str(continuing_bundle.root)
    place = tmp_path / "out.cotamf"
    completed = cli("encode", clip, "-o", place, "--frames", "5", "--bundle", bundle, "--json")
    record = json.loads(completed.out)
    assert record["stream"] == str(place)
    assert [frame["key"] for frame in record["frames"]] == [True, False, False, False, False]
    assert sum(frame["bytes"] for frame in record["frames"]) < record["bytes"] < 4000
    shown = cli("inspect", place, "--verify", "--bundle", bundle)
    assert "5 frames" in shown.out
    assert "the symbols are those that were coded" in shown.out
    data = place.read_bytes()
    place.write_bytes(data[:-3])
    cut = json.loads(cli("inspect", place, "--json").out)
    assert cut["lost"] == [{"first": 4, "last": None, "error": "stream_truncated"}]
    sheet = tmp_path / "sheet.png"
    assert cli("map", clip, "-o", sheet, "--bundle", bundle).code == 0
    with Image.open(sheet) as image:
        assert image.width > 4 * 128
    for flags, said in (
        (("--frames", "none"), "a number, a rate"),
        (("--rate", "2kB"), "bytes a second"),
        (("--rate", "2kB/s", "--budget", "2kB"), "--rate excludes"),
    ):
        completed = cli("encode", clip, *flags)
        assert (completed.code, said in completed.err) == (2, True)


def test_a_clip_that_cannot_be_sent_waits_coded(
    cli: Any, clip: Path, continuing_bundle: Bundle, tmp_path: Path
) -> None:
    question = ("did anyone come in?", "--server", "http://127.0.0.1:9", "--retries", "0")
    completed = cli("send", clip, *question, "--bundle", str(continuing_bundle.root))
    assert completed.code == 4
    assert "kept in the spool" in completed.err
    spool = Spool(tmp_path / "xdg-state" / "cotam" / "spool")
    (entry,) = spool.entries()
    job = spool.read(entry)
    assert job.query.prompt == "did anyone come in?"
    assert len([each for each in read_frames(job.query.stream) if isinstance(each, Frame)]) == 8
    missing = cli("send", clip)
    assert (missing.code, "question is missing" in missing.err) == (2, True)
