"""What a coarse symbol tells of a fine one: the few values that it can have.

A base says of each latent in which interval it lies, by its quantiser and dead zone. The finer
symbol is one of those whose own intervals meet that one. All in integers: both ends compute it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.coding.integer_layers import MEAN_UNIT, SCALES

USUAL: Final = 16
"""The price of a bit that `ZONES` belong to; others count in sixteenths of it, up to 255."""
ZONES: Final = np.zeros(SCALES, np.int64)
ZONES[:16] = (46, 46, 42, 35, 29, 24, 21, 17, 15, 13, 11, 9, 8, 7, 6, 5)
ZONES[16:28] = (5, 4, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1)
"""Dead zones of the scale indices in 256ths of a quantiser step: how far a distance to the mean is
drawn to zero before it is rounded. They are those of `dead_zones`, written down, because logarithms
need not round alike everywhere."""
WIDEST: Final = 8
"""Values from which a symbol is told; of more, its own table does as well."""
FARTHEST: Final = 30_000
_HALF: Final = 128  # of a step, in 256ths
_FINER: Final = 16  # 256ths of a step in a sixteenth
_SIGNS: Final = 6  # bits that a scale index takes

Array = NDArray[Any]


def signed_scales_of(symbols: Array, index: Array) -> Array:
    """What to remember of coded symbols, u8: scale index, 64 more if positive, 128 if negative.

    0 where the index is: such a symbol is not looked at, and tells nothing.
    """
    sign = (symbols > 0) + 2 * (symbols < 0)
    signed_scales: Array = np.where(index == 0, 0, index | sign << _SIGNS).astype(np.uint8)
    return signed_scales


def allowed(
    signed_scales: Array,
    values: Array,
    known_steps: Array,
    own_steps: Array,
    mean: Array,
    index: Array,
    price: int,
) -> tuple[Array, Array]:
    """The lowest symbol that there can be i64, and how many i64; 0 for any. All of one shape.

    signed_scales, values: of `signed_scales_of`; 4096ths of an 8-bit unit. known_steps, own_steps:
    in 256ths. mean, index: what the network says now. price: at which bit price the known
    symbols were coded.
    """
    known, sign = signed_scales & (SCALES - 1), signed_scales >> _SIGNS
    zone = ZONES[known] * price // USUAL
    below = _HALF + np.where(sign == 1, -zone, zone)
    above = _HALF + np.where(sign == 2, -zone, zone)
    middle, at = _FINER * values, 256 // MEAN_UNIT * mean.astype(np.int64)
    low = _symbol((middle - below * known_steps) // own_steps - at, index)
    high = _symbol(-((-middle - above * known_steps) // own_steps) - at, index)
    count = high - low + 1
    sensible = (count <= WIDEST) & (low >= -FARTHEST) & (high <= FARTHEST)
    return low, np.where((known > 0) & (index > 0) & sensible, count, 0)


def _symbol(distance: Array, index: Array) -> Array:
    """What a distance to the mean, in 256ths of a step, is rounded to."""
    zone = ZONES[index]
    symbol: Array = (distance - np.clip(distance, -zone, zone) + _HALF) >> 8
    return symbol
