"""Ways to send a picture at several sizes, as judges compare them: ours twice, and the formats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pillow_formats import PillowFormat
from evaluation.report.records import Fields
from shared.bundle import ENCODER, Manifest
from shared.level_map import LevelMap

FLAT: Final = "flat"
MAPPED: Final = "mapped"


Send = Callable[[float], tuple[int, Picture]]
"""From a setting to bytes, and the picture that comes back."""


@dataclass(frozen=True)
class Prepared:
    """A picture that is ready to be sent. identity: all that its bytes depend on but picture and
    setting."""

    identity: Fields
    send: Send = field(repr=False)


@dataclass(frozen=True)
class Sender:
    """One way to send pictures.

    name: in tables and plots.
    settings: qualities as it counts them, lowest first.
    prepare: makes a picture ready.
    """

    name: str
    settings: tuple[float, ...]
    prepare: Callable[[Picture], Prepared] = field(repr=False)


def own(cotam: CotamCodec, guidance: bool, qualities: Sequence[float]) -> Sender:
    """Our codec, as the edge sends by default (`guidance`) or without a level map."""
    manifest = cotam.bundle.manifest

    def prepare(picture: Picture) -> Prepared:
        analysed = cotam.analyse(picture, guidance)

        def send(quality: float) -> tuple[int, Picture]:
            size, decoded = cotam.send(analysed, quality)
            return size, decoded.picture

        # Where no map is sent both ways to send are one.
        return Prepared(_identity(manifest, analysed.level_map), send)

    return Sender(MAPPED if guidance else FLAT, tuple(qualities), prepare)


def _identity(manifest: Manifest, level_map: LevelMap | None) -> Fields:
    """What pixels depend on: a new adapter or language model leaves what was measured true."""
    identity: Fields = {
        "codec": "cotam",
        "decoder": manifest.codec_id.hex(),
        "encoder": manifest.files[ENCODER].sha256[:16],
    }
    if level_map is not None:
        identity["map"] = hashlib.sha256(level_map.encode()).hexdigest()[:16]
    return identity


def classical(form: PillowFormat, qualities: Sequence[int]) -> Sender:
    """A format as Pillow writes it."""

    def prepare(picture: Picture) -> Prepared:
        def send(quality: float) -> tuple[int, Picture]:
            file = form.encode(picture, int(quality))
            return len(file), form.decode(file)

        return Prepared({"codec": form.describe()}, send)

    return Sender(form.name, tuple(qualities), prepare)
