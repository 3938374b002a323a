"""Three clips that were written once: neither container nor what frames hold may change.

Their network is that of the golden streams with the layers of `tests.continuing`. They are what
`evaluation.codecs.clip_damage.good_clips` made of it then: one and two qualities, some and all
latents, with and without a hyper latent of their own, a keyframe in the middle.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.clips.frame_walk import FrameWalk
from shared.clips.kept_frame import KeptFrame, walk_from
from shared.entropy_model import EntropyModel
from shared.errors import BaseUnknown
from shared.frames import Changes, Frame, Writer, read_base, read_frames, read_header
from tests.continuing import with_random_layers

FOLDER = Path(__file__).parent / "golden"
DIGESTS = {
    "clip-73x2.cotamf": "c8709dc70baf3d6b7ca1eb4f5466e73d",
    "clip-73x47.cotamf": "fab1c36d78b6ac2244d1bee99918a4b9",
    "clip-16x47.cotamf": "654014d64acdc854e7c75cffb6a05c3c",
}
"""Half a SHA-256 of the latents (64 bits each) and quality codes (32) after each frame."""

CHECKS = {
    "clip-73x2.cotamf": 0x2F4208D8,
    "clip-73x47.cotamf": 0x2180006E,
    "clip-16x47.cotamf": 0xA0E51A79,
}
"""Of what is known after each first frame."""


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


@pytest.mark.parametrize("name", CHECKS)
def test_a_golden_clip_goes_on_from_its_first_frame_alone(name: str, model: EntropyModel) -> None:
    """In two clips, the second of which names what the first one left by its check."""
    data = (FOLDER / name).read_bytes()
    header = read_header(data)
    first, *rest = (frame for frame in read_frames(data) if isinstance(frame, Frame))
    whole = FrameWalk(model, header)
    whole.read(first.body)
    kept = KeptFrame.of(whole)
    assert kept.check == CHECKS[name]
    writer = Writer(header, kept.check)
    second = writer.head + b"".join(writer.add(frame.body, frame.time) for frame in rest)
    walk = walk_from(model, read_header(second), read_base(second), kept)
    for frame in read_frames(second):
        assert isinstance(frame, Frame)
        walk.read(frame.body)
        whole.read(frame.body)
    assert walk.check == whole.check
    for others in (None, replace(kept, check=kept.check ^ 1)):
        with pytest.raises(BaseUnknown, match="continues a frame"):
            walk_from(model, header, kept.check, others)
    with pytest.raises(BaseUnknown, match="another codec or size"):
        walk_from(model, replace(header, height=header.height + 1), kept.check, kept)


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
