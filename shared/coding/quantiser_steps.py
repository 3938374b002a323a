"""The arrays of `entropy.npz` that are no layers: steps of the quantiser, and their forms.

Older files have gains, floats with which latents are multiplied; later ones integer steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.coding.integer_layers import CODES, EXACT, SCALES, STEP_UNIT

Array = NDArray[Any]


def with_steps(arrays: dict[str, Array]) -> dict[str, Array]:
    """Arrays with integer steps; older ones have gains, which are floats."""
    if "steps" in arrays:
        return arrays
    steps = np.round(STEP_UNIT / arrays["gains"].astype(np.float64))
    return {**arrays, "steps": steps.astype(np.int64)}


def gains_of(arrays: dict[str, Array]) -> Array:
    """What latents are multiplied with before rounding, f32 [181, C]."""
    if "gains" in arrays:
        return np.asarray(arrays["gains"], np.float32)
    return np.float32(STEP_UNIT) / arrays["steps"].astype(np.float32)


def check_form(arrays: dict[str, Array], channels: int, hyper_channels: int) -> None:
    """Raise ValueError or KeyError where steps or gains are absent or have another form."""
    widths = {"steps": channels, "hyper_gains": hyper_channels, "hyper_scales": hyper_channels}
    for name, width in widths.items():
        if arrays[name].shape != (CODES, width):
            raise ValueError(f"{name} is not {CODES} codes by {width} channels")
    if arrays["steps"].dtype.kind != "i" or not arrays["steps"].min() > 0:
        raise ValueError("a quantiser step is no positive integer")
    if arrays["steps"].max() >= EXACT:
        raise ValueError("a quantiser step is not exact in float32")
    if arrays["hyper_scales"].max() >= SCALES:
        raise ValueError(f"a scale index of the hyper latent is over {SCALES - 1}")
