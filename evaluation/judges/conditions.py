"""What the model gets of a picture under each condition.

picture --our codec, or a variant--> bytes --> decoded, with or without adapter
        --JPEG, WebP, AVIF---------> bytes --> decoded
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from edge_client.coding.encoder import Analysed
from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec, Received, bare, without_adapter
from evaluation.codecs.pillow_formats import FORMATS, decode
from evaluation.judges.accuracy import ORIGINAL, VIEWS, Condition

Transmit = Callable[[Condition], Received]


def all_conditions(
    adapts: bool,
    qualities: Sequence[float],
    matched: Mapping[str, Iterable[int]],
    variants: Iterable[str] = (),
) -> list[Condition]:
    """Our views and the variants at each quality, the formats at those that match.

    adapts: whether there is an adapter for the model's tower; without one the views come to two.
    """
    views = [view for view in VIEWS if adapts or view in ("base", "guidance")]
    return [
        *(Condition(name, float(quality)) for name in (*views, *variants) for quality in qualities),
        *(
            Condition(form, float(quality))
            for form, matches in matched.items()
            for quality in matches
        ),
    ]


def transmitter(
    picture: Picture, cotam: CotamCodec, variants: Mapping[str, CotamCodec] | None = None
) -> Transmit:
    """Shows a picture u8 [H, W, 3] under a condition; what several of them need is made once.

    variants: codecs of other bundles by the names of their conditions, always the whole method.
    """

    @functools.cache
    def analysed(codec: CotamCodec) -> Analysed:
        return codec.analyse(picture, True)

    @functools.cache
    def sent(codec: CotamCodec, guided: bool, quality: float) -> Received:
        analysis = analysed(codec)
        return codec.send(analysis if guided else replace(analysis, level_map=None), quality)

    def show(condition: Condition) -> Received:
        name, quality = condition.codec, condition.quality
        if name == ORIGINAL:
            return picture.nbytes, bare(picture)
        if condition.is_view:
            size, decoded = sent(cotam, name in ("guidance", "full"), quality)
            return size, decoded if name in ("adapter", "full") else without_adapter(decoded)
        if variants and name in variants:
            return sent(variants[name], True, quality)
        form = next(form for form in FORMATS if form.name == name)
        file = form.encode(picture, int(quality))
        return len(file), bare(decode(file))

    return show
