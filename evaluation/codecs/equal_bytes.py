"""The qualities of JPEG, WebP and AVIF whose files are about as large as ours."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pillow_formats import PillowFormat, nearest_quality
from evaluation.report.records import Records

MATCHED_ON: Final = 6
"""Pictures whose mean sizes are matched: the first ones alone, to save time."""

BEYOND: Final = (2.0,)
"""Sizes of the other formats above ours, as multiples of our largest: they need more bytes."""


def match_formats(
    cotam: CotamCodec,
    pictures: Sequence[Picture],
    qualities: Sequence[float],
    forms: Sequence[PillowFormat],
    records: Records,
) -> dict[str, list[int]]:
    """For each format the qualities whose mean sizes are nearest to ours with guidance.

    Larger sizes follow (`BEYOND`). One setting holds for all pictures, as a user would have it.
    """

    def find() -> dict[str, list[int]]:
        analysed = [cotam.analyse(picture, True) for picture in pictures]
        sizes = [
            float(np.mean([len(cotam.encode(picture, quality)) for picture in analysed]))
            for quality in sorted(qualities)
        ]
        sizes += [factor * sizes[-1] for factor in BEYOND]
        matched = {}
        for form in forms:
            size_at = functools.cache(functools.partial(_mean_size, form, pictures))
            matched[form.name] = sorted({nearest_quality(size_at, size) for size in sizes})
        return matched

    key = {
        "matched": [form.describe() for form in forms],
        "bundle": cotam.bundle.hex_id,
        "qualities": sorted(qualities),
        "pictures": [zlib.crc32(picture.tobytes()) for picture in pictures],
    }
    return records.measure(key, find)


def _mean_size(form: PillowFormat, pictures: Sequence[Picture], quality: int) -> float:
    return float(np.mean([form.size(picture, quality) for picture in pictures]))
