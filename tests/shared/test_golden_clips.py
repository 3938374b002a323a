"""Three clips that were written once: neither container nor what frames hold may change.

Their network is that of the golden streams with the layers of `tests.continuing`. They are what
`evaluation.codecs.clip_damage.good_clips` made of it: one and two qualities, some and all latents,
with and without a hyper latent of their own, a keyframe in the middle.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from shared.clips.frame_walk import FrameWalk
from shared.entropy_model import EntropyModel
from shared.frames import Changes, Frame, Writer, read_frames, read_header
from tests.continuing import with_random_layers

FOLDER = Path(__file__).parent / "golden"
DIGESTS = {
    "clip-73x2.cotamf": "c8709dc70baf3d6b7ca1eb4f5466e73d",
    "clip-73x47.cotamf": "fab1c36d78b6ac2244d1bee99918a4b9",
    "clip-16x47.cotamf": "654014d64acdc854e7c75cffb6a05c3c",
}
"""Half a SHA-256 of the latents (64 bits each) and quality codes (32) after each frame."""


@pytest.fixture(scope="module")
def model() -> EntropyModel:
    with np.load(FOLDER / "entropy.npz") as file:
        return EntropyModel(with_random_layers(dict(file)))


@pytest.mark.parametrize("name", DIGESTS)
def test_a_golden_clip_is_read_as_it_was(name: str, model: EntropyModel) -> None:
    data = (FOLDER / name).read_bytes()
    header = read_header(data)
    walk, writer, digest = FrameWalk(model, header), Writer(header), hashlib.sha256()
    again = writer.head
    for frame in read_frames(data):
        assert isinstance(frame, Frame)
        walk.read(frame.body)
        digest.update(walk.state.values.astype("<i8").tobytes())
        digest.update(walk.state.codes.astype("<i4").tobytes())
        again += writer.add(frame.body, frame.time)
    assert digest.hexdigest()[:32] == DIGESTS[name]
    assert again == data


def test_they_hold_every_kind_of_frame() -> None:
    bodies = [
        frame.body
        for name in DIGESTS
        for frame in read_frames((FOLDER / name).read_bytes())
        if isinstance(frame, Frame)
    ]
    changes = [body for body in bodies if isinstance(body, Changes)]
    assert {body.renews for body in changes} == {False, True}
    assert {bool(body.plane) for body in changes} == {False, True}
    assert None in bodies
