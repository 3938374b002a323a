"""Ways to send a picture at several sizes, as judges compare them: ours twice, and the formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_client.coding.encoder import Analysed
from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pillow_formats import PillowFormat
from evaluation.report.records import Fields

FLAT: Final = "flat"
MAPPED: Final = "mapped"


@dataclass(frozen=True)
class Sender:
    """One way to send pictures.

    name: in tables and plots.
    identity: all that its bytes depend on but picture and setting.
    settings: qualities as it counts them, lowest first.
    prepare: of a picture, what sends it at a setting: bytes, and the picture that comes back.
    """

    name: str
    identity: Fields
    settings: tuple[float, ...]
    prepare: Callable[[Picture], Callable[[float], tuple[int, Picture]]] = field(repr=False)


def own(cotam: CotamCodec, guidance: bool, qualities: Sequence[float]) -> Sender:
    """Our codec, as the edge sends by default (`guidance`) or without a level map."""

    def prepare(picture: Picture) -> Callable[[float], tuple[int, Picture]]:
        analysed: list[Analysed] = []

        def send(quality: float) -> tuple[int, Picture]:
            if not analysed:  # only where something is to be measured
                analysed.append(cotam.analyse(picture, guidance))
            size, decoded = cotam.send(analysed[0], quality)
            return size, decoded.picture

        return send

    identity = {"codec": "ours", "bundle": cotam.bundle.hex_id, "guidance": guidance}
    return Sender(MAPPED if guidance else FLAT, identity, tuple(qualities), prepare)


def classical(form: PillowFormat, qualities: Sequence[int]) -> Sender:
    """A format as Pillow writes it."""

    def prepare(picture: Picture) -> Callable[[float], tuple[int, Picture]]:
        def send(quality: float) -> tuple[int, Picture]:
            file = form.encode(picture, int(quality))
            return len(file), form.decode(file)

        return send

    return Sender(form.name, {"codec": form.describe()}, tuple(qualities), prepare)
