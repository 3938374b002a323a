"""Clips to be damaged, and what noise and ill will make of them, from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.codecs.damage import INSIDE, Chance
from shared.bitstream import Bitstream
from shared.clips.frame_walk import FrameWalk, plane_codes
from shared.coding.integer_network import Before
from shared.entropy_model import EntropyModel
from shared.errors import StreamMalformed
from shared.frames import Body, Changes, Frame, Header, Writer, read_frames, read_header
from shared.level_map import STRIDE, LevelMap, flat_codes, latent_shape

COUNT: Final = 12
LENGTH: Final = 5  # frames

Array = NDArray[Any]


def good_clips(model: EntropyModel, codec_id: bytes) -> list[bytes]:
    """Twelve clips of five frames up to 95x65 pixels: one and two qualities, with and without a
    hyper latent of their own, all latents, some and none; a keyframe in the middle of some."""
    chance = np.random.default_rng(2)
    return [_good_clip(model, codec_id, number, chance) for number in range(COUNT)]


def damaged_clip(clips: Sequence[bytes], chance: Chance) -> bytes:
    """One of the good clips, damaged: six in ten inside of frames under a right CRC."""
    data = clips[chance.integers(len(clips))]
    other = clips[chance.integers(len(clips))]
    if chance.random() < 0.6:
        return _frames_damaged(data, other, chance)
    for _ in range(int(chance.integers(1, 4))):
        data = INSIDE[chance.integers(len(INSIDE))](data, other, chance)
    return data


def _good_clip(model: EntropyModel, codec_id: bytes, number: int, chance: Chance) -> bytes:
    width, height = (1, 1) if number == 0 else (int(side) for side in chance.integers(1, (96, 66)))
    header = Header(codec_id, width, height, every=LENGTH)
    walk, writer = FrameWalk(model, header), Writer(header)
    shape = (model.latent_channels, *latent_shape(width, height))
    latent = chance.laplace(0, 1, shape) * np.exp(chance.normal(2, 1, shape[:1]))[:, None, None]
    data = writer.head
    for place in range(LENGTH):
        latent = (latent + chance.normal(0, 4, shape)).astype(np.float32)
        body: Body
        if place == 0 or (place == 3 and number % 4 == 0):
            code = 15 * number
            coded = model.encode(latent, flat_codes(code, width, height), code)
            body = Bitstream(codec_id, width, height, code, coded.check, b"", coded.payload)
        elif place == 2:
            body = None
        else:
            body = _changes(walk, latent, place + number, chance)
        walk.read(body)
        data += writer.add(body, 40 * place)
    return data


def _changes(walk: FrameWalk, latent: Array, form: int, chance: Chance) -> Changes:
    levels = chance.integers(0, 2 + form % 2, walk.changed.shape).astype(np.uint8)
    levels.flat[0] = 1
    plane = LevelMap(levels, STRIDE, 2 + form % 2, 30)
    code, renews = 10 * (form % 12), form % 3 == 0
    mask, codes, named = levels > 0, plane_codes(plane, code), plane.encode()
    if form % 5 == 0:
        mask, named = np.ones_like(mask), b""
        codes = np.full_like(codes, code)
    before: Before = walk.basis(renews)
    coded = walk.model.encode(latent, codes, code, before=before, mask=mask)
    return Changes(code, coded.check, renews, named, coded.payload)


def _frames_damaged(data: bytes, other: bytes, chance: Chance) -> bytes:
    """Sound containers whose frames are changed, exchanged, left out or repeated."""
    header = read_header(data)
    frames = [each for each in read_frames(data) if isinstance(each, Frame)]
    others = [each.body for each in read_frames(other) if isinstance(each, Frame)]
    bodies = [frame.body for frame in frames]
    for _ in range(int(chance.integers(1, 3))):
        at = int(chance.integers(len(bodies)))
        way = chance.random()
        if way < 0.15 and len(bodies) > 1:
            del bodies[at]
        elif way < 0.3:
            bodies.insert(at, bodies[int(chance.integers(len(bodies)))])
        elif way < 0.4:
            bodies[at] = others[int(chance.integers(len(others)))]
        else:
            bodies[at] = _body_damaged(bodies[at], other, chance)
    writer = Writer(header)
    out = writer.head
    for time, body in enumerate(bodies):
        try:
            out += writer.add(body, time)
        except StreamMalformed:  # of another size, or no keyframe: left out
            continue
    return out


def _body_damaged(body: Body, other: bytes, chance: Chance) -> Body:
    way = INSIDE[chance.integers(len(INSIDE))]
    if body is None:
        return Changes(int(chance.integers(181)), 0, False, b"", other[-8:])
    if isinstance(body, Bitstream) or chance.random() < 0.5:
        return replace(body, latents=way(body.latents or b"\1", other, chance))
    if chance.random() < 0.6:
        return replace(body, plane=way(body.plane or b"\1", other, chance))
    return replace(body, renews=not body.renews, quality_code=int(chance.integers(181)))
