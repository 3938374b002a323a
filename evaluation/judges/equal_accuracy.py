"""Bits at equal accuracy of two codecs, by family of questions, with intervals over pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.judges.accuracy import Measured
from evaluation.judges.families import COLUMNS, FAMILIES, OVERALL
from evaluation.stats.bootstrap import with_interval
from evaluation.stats.curves import Curve, bd_rate_monotone

MIN_SPAN: Final = 0.01  # of accuracy that two curves must have in common
Array = NDArray[Any]


def changes(
    measured: Measured,
    test: str,
    anchor: str,
    weights: Array,
    families: Sequence[str] = FAMILIES,
    probable: bool = False,
) -> Array:
    """Bits of `test` at equal accuracy against `anchor`, as shares [R, families]; nan for none.

    weights [R, P]: how often each picture is drawn. `probable`: at equal mean probability of the
    right answer instead, which shows smaller differences with the same pictures.
    """
    anchor_curve, test_curve = (
        _curves(measured, codec, weights, probable) for codec in (anchor, test)
    )
    places = [COLUMNS.index(family) for family in families]
    shares = np.full((len(weights), len(families)), np.nan)
    for number in range(len(weights)):
        for column, place in enumerate(places):
            shares[number, column] = bd_rate_monotone(
                anchor_curve(number, place), test_curve(number, place), MIN_SPAN
            )
    return shares


def _curves(
    measured: Measured, codec: str, weights: Array, probable: bool
) -> Callable[[int, int], Curve]:
    """Accuracy over mean bytes of a codec, by resample and family."""
    conditions = measured.of(codec)
    score = measured.probability if probable else measured.accuracy
    sizes = np.stack([measured.size(c, weights) for c in conditions], axis=1)
    scores = np.stack([score(c, weights) for c in conditions], axis=1)

    def curve(number: int, family: int) -> Curve:
        known = np.isfinite(scores[number, :, family])
        order = np.argsort(sizes[number, known], kind="stable")
        return Curve(sizes[number, known][order], scores[number, known, family][order])

    return curve


def overall(measured: Measured, test: str, anchor: str, weights: Array) -> list[str]:
    """Changes over all questions: at equal accuracy, and at equal probability of what is right."""
    return [
        with_interval(changes(measured, test, anchor, weights, [OVERALL], probable)[:, 0])
        for probable in (False, True)
    ]
