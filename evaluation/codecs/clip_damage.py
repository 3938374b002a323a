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
from shared.clips.kept_frame import KeptFrame
from shared.coding.integer_network import Before
from shared.entropy_model import EntropyModel
from shared.errors import StreamMalformed
from shared.frames import (
    Body,
    Changes,
    Frame,
    Header,
    Writer,
    read_base,
    read_frames,
    read_header,
)
from shared.level_map import STRIDE, LevelMap, flat_codes, latent_shape

COUNT: Final = 12
LENGTH: Final = 4  # frames
SIDE: Final = 48
"""Pixels at most: a small frame goes all the way of a large one."""

Array = NDArray[Any]


def good_clips(model: EntropyModel, codec_id: bytes) -> tuple[list[bytes], list[KeptFrame]]:
    """Twelve clips of four frames up to 48x48 pixels, and what each may go on from.

    One and two qualities, with and without a hyper latent of their own, all latents, some and none;
    a keyframe in the middle of some. Every third goes on from what is beside it.
    """
    chance = np.random.default_rng(2)
    made = [_good_clip(model, codec_id, number, chance) for number in range(COUNT)]
    clips, kept = zip(*made, strict=True)
    return list(clips), list(kept)


def damaged_clip(clips: Sequence[bytes], chance: Chance) -> tuple[bytes, int]:
    """One of the good clips, and its number; six in ten are damaged inside of frames under a right
    CRC."""
    number = int(chance.integers(len(clips)))
    data = clips[number]
    other = clips[chance.integers(len(clips))]
    if chance.random() < 0.6:
        return _frames_damaged(data, other, chance), number
    for _ in range(int(chance.integers(1, 4))):
        data = INSIDE[chance.integers(len(INSIDE))](data, other, chance)
    return data, number


def _good_clip(
    model: EntropyModel, codec_id: bytes, number: int, chance: Chance
) -> tuple[bytes, KeptFrame]:
    width, height = (1, 1) if number == 0 else chance.integers(1, SIDE + 1, 2).tolist()
    header = Header(codec_id, width, height, every=LENGTH)
    shape = (model.latent_channels, *latent_shape(header.width, header.height))
    latent = chance.laplace(0, 1, shape) * np.exp(chance.normal(2, 1, shape[:1]))[:, None, None]
    walk = FrameWalk(model, header)
    walk.read(_key(model, header, latent.astype(np.float32), 15 * number))
    kept = KeptFrame.of(walk)
    based = number % 3 == 2
    writer = Writer(header, kept.check if based else None)
    data = writer.head
    for place in range(LENGTH):
        latent = (latent + chance.normal(0, 4, shape)).astype(np.float32)
        body: Body
        if (place == 0 and not based) or (place == 3 and number % 4 == 0):
            body = _key(model, header, latent, 15 * number)
        elif place == 2:
            body = None
        else:
            body = _changes(walk, latent, place + number, chance)
        walk.read(body)
        data += writer.add(body, 40 * place + based)
    return data, kept


def _key(model: EntropyModel, header: Header, latent: Array, code: int) -> Bitstream:
    coded = model.encode(latent, flat_codes(code, header.width, header.height), code)
    size = header.width, header.height
    return Bitstream(header.codec_id, *size, code, coded.check, b"", coded.payload)


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
    """Sound containers whose frames are changed, exchanged, left out or repeated; one in ten names
    a base that it does not continue, or none."""
    header, base = read_header(data), read_base(data)
    if chance.random() < 0.1:
        base = int(chance.integers(1 << 32)) if base is None else None
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
    writer = Writer(header, base)
    out = writer.head
    for time, body in enumerate(bodies, 1):
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
