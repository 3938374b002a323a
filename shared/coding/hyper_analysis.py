"""Latents to the hyper latent, by three matrix products: the writer's half alone.

    gained latent [h, w, C] --1x1--> relu --2x2--> relu --2x2--> z [h/4, w/4, Cz], rounded

It is in floating point: whoever reads a stream finds z in it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.coding.integer_layers import WEIGHT_LIMIT

_BAND: Final = 64  # rows of latents whose hyper latents are found at a time

Array = NDArray[Any]


class HyperAnalysis:
    """The hyper analysis of `entropy.npz`."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._gains = np.asarray(arrays["hyper_gains"], np.float32)  # [181, Cz]
        self._skipped = np.asarray(arrays["hyper_scales"]) == 0  # [181, Cz]
        self._layers = [
            (
                np.asarray(arrays[f"hyper_analysis{i}.weight"], np.float32),
                np.asarray(arrays[f"hyper_analysis{i}.bias"], np.float32),
            )
            for i in range(3)
        ]

    def __call__(self, latent: Array, gains: Array, quality: Array, base_code: int) -> Array:
        """Integer hyper latent i32 [h/4, w/4, Cz] of a latent f32 [h, w, C], a band at a time.

        gains: f32 [181, C], what latents are multiplied with at each of the quality codes [h, w].
        """
        bands = [slice(top, top + _BAND) for top in range(0, len(latent), _BAND)]
        return np.concatenate(
            [self._of_band(latent[b] * gains[quality[b]], base_code) for b in bands]
        )

    def _of_band(self, gained: Array, base_code: int) -> Array:
        height, width = gained.shape[:2]
        x = np.pad(gained, ((0, -height % 4), (0, -width % 4), (0, 0)))
        for i, (weight, bias) in enumerate(self._layers):
            x = (_space_to_depth(x) if i else x) @ weight
            x += bias
            if i < 2:
                np.maximum(x, 0, out=x)
        z: Array = np.floor(x * self._gains[base_code] + 0.5)
        z = np.where(self._skipped[base_code], 0, z)
        return z.clip(-WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int32)


def _space_to_depth(x: Array) -> Array:
    """[2h, 2w, C] -> [h, w, 4C], channel-major as torch's pixel_unshuffle."""
    height, width, channels = x.shape
    x = x.reshape(height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 2, 4, 1, 3).reshape(height // 2, width // 2, 4 * channels)
