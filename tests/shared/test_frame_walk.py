"""What readers of clips know after each frame, and which frames they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from shared.bitstream import Bitstream
from shared.clips.frame_walk import FrameWalk, plane_codes
from shared.entropy_model import EntropyModel
from shared.errors import DecoderMismatch, StreamMalformed
from shared.frames import Changes, Header
from shared.level_map import LevelMap, flat_codes

WIDTH, HEIGHT = 96, 80
SHAPE = (5, 6)
HEADER = Header(b"\1\2\3\4", WIDTH, HEIGHT, every=10)


@pytest.fixture(scope="module")
def latents(entropy: EntropyModel) -> list[np.ndarray]:
    chance = np.random.default_rng(1)
    shape = (entropy.latent_channels, *SHAPE)
    first = chance.laplace(0, 12, shape).astype(np.float32)
    return [first, first + chance.normal(0, 2, shape).astype(np.float32)]


def key(model: EntropyModel, latent: np.ndarray, code: int = 60) -> Bitstream:
    coded = model.encode(latent, flat_codes(code, WIDTH, HEIGHT), code)
    return Bitstream(HEADER.codec_id, WIDTH, HEIGHT, code, coded.check, b"", coded.payload)


def some() -> np.ndarray:
    levels = np.zeros(SHAPE, np.uint8)
    levels[1:3, 2:5] = 1
    levels[2, 3] = 2
    return levels


def changes(
    walk: FrameWalk, latent: np.ndarray, levels: np.ndarray, renews: bool = False
) -> Changes:
    plane = LevelMap(levels, 16, int(levels.max()) + 1, 30)
    codes = plane_codes(plane, 70)
    coded = walk.model.encode(latent, codes, 70, before=walk.basis(renews), mask=levels > 0)
    return Changes(70, coded.check, renews, plane.encode(), coded.payload)


@pytest.mark.parametrize("renews", [False, True])
def test_what_is_not_marked_stays_as_it_was(
    continuing: EntropyModel, latents: list[np.ndarray], renews: bool
) -> None:
    walk = FrameWalk(continuing, HEADER)
    walk.read(key(continuing, latents[0]))
    before, codes = walk.latent(), walk.state.codes
    levels = some()
    walk.read(changes(walk, latents[1], levels, renews))
    moved = levels > 0
    assert np.array_equal(walk.changed, moved)
    assert np.array_equal(walk.latent()[:, ~moved], before[:, ~moved])
    assert not np.array_equal(walk.latent()[:, moved], before[:, moved])
    assert np.array_equal(walk.state.codes[~moved], codes[~moved])
    assert walk.state.codes[2, 3] == 100
    assert walk.state.codes[1, 2] == 70


def test_frames_without_changes_keep_everything(
    continuing: EntropyModel, latents: list[np.ndarray]
) -> None:
    walk = FrameWalk(continuing, HEADER)
    walk.read(key(continuing, latents[0]))
    known = walk.state
    walk.read(None)
    assert walk.state is known
    assert not walk.changed.any()


def test_all_latents_may_change_without_a_plane(
    continuing: EntropyModel, latents: list[np.ndarray]
) -> None:
    walk = FrameWalk(continuing, HEADER)
    walk.read(key(continuing, latents[0]))
    codes = flat_codes(70, WIDTH, HEIGHT)
    everything = np.ones(SHAPE, bool)
    coded = continuing.encode(latents[1], codes, 70, before=walk.basis(True), mask=everything)
    walk.read(Changes(70, coded.check, True, b"", coded.payload))
    assert walk.changed.all()
    assert np.array_equal(walk.state.codes, codes)


def test_a_keyframe_reads_as_the_picture_that_it_is(
    continuing: EntropyModel, latents: list[np.ndarray]
) -> None:
    stream = key(continuing, latents[0])
    walk = FrameWalk(continuing, HEADER)
    walk.read(stream)
    codes = flat_codes(60, WIDTH, HEIGHT)
    decoded = continuing.decode(stream.latents, stream.check, codes, 60)
    assert np.array_equal(walk.latent(), decoded)


def test_a_walk_goes_on_from_what_another_knew(
    continuing: EntropyModel, latents: list[np.ndarray]
) -> None:
    walk = FrameWalk(continuing, HEADER)
    walk.read(key(continuing, latents[0]))
    first = walk.check
    body = changes(walk, latents[1], some())
    later = FrameWalk(continuing, HEADER, walk.state)
    assert later.check == first
    later.read(body)
    walk.read(body)
    assert np.array_equal(later.latent(), walk.latent())
    assert later.check == walk.check != first
    other = FrameWalk(continuing, HEADER)
    other.read(key(continuing, latents[0], code=61))
    assert other.check != first


def test_nothing_is_continued_before_a_keyframe(continuing: EntropyModel) -> None:
    walk = FrameWalk(continuing, HEADER)
    for body in (None, Changes(70, 0, False, b"", b"")):
        with pytest.raises(StreamMalformed, match="there is none"):
            walk.read(body)


def test_other_planes_are_refused(continuing: EntropyModel, latents: list[np.ndarray]) -> None:
    walk = FrameWalk(continuing, HEADER)
    walk.read(key(continuing, latents[0]))
    planes = [
        LevelMap(np.ones((3, 3), np.uint8), 32, 2, 30),
        LevelMap(np.ones(SHAPE, np.uint8), 16, 5, 30),
        LevelMap(np.zeros(SHAPE, np.uint8), 16, 2, 30),
    ]
    for plane in planes:
        with pytest.raises(StreamMalformed):
            walk.read(Changes(70, 0, False, plane.encode(), b"\1"))


def test_a_frame_onto_another_is_a_mismatch(
    continuing: EntropyModel, latents: list[np.ndarray]
) -> None:
    walk, other = FrameWalk(continuing, HEADER), FrameWalk(continuing, HEADER)
    walk.read(key(continuing, latents[0]))
    other.read(key(continuing, -latents[0]))
    body = changes(walk, latents[1], some())
    with pytest.raises(DecoderMismatch):
        other.read(body)
