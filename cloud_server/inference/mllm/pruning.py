"""Which visual tokens of a picture a language model reads, by the level map that came with it.

    codes of the latents --where each token looks--> scores [N] --the best--> kept as they are
                                                                `--the rest--> one, their mean

Cells that were sent in fewer bits hold less of what an answer depends on, as the edge judged them:
their tokens are dropped first. Those that are read keep their positions in the prompt, and the mean
gets the attention of as many as it stands for: Bolya et al., "Token Merging" (ICLR 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.level_map import STRIDE

NEARBY = 2  # latents; among tokens of one level those count more that lie near finer ones
Array = NDArray[Any]


@dataclass(frozen=True)
class Pruned:
    """Which of `count` features are read: kept i64 [K], rising; of these, the one at `mean` stands
    for all that are not."""

    count: int
    kept: Array
    mean: int

    @property
    def sizes(self) -> Array:
        """How many features each that is read stands for, i64 [N]; 0 for those that are not."""
        sizes = np.zeros(self.count, np.int64)
        sizes[self.kept] = 1
        sizes[self.kept[self.mean]] += self.count - len(self.kept)
        return sizes

    def of(self, features: Tensor) -> Tensor:
        """Features [K, D] of features [N, D]."""
        merged = self.sizes != 1
        kept_features = features[torch.from_numpy(self.kept)]
        kept_features[self.mean] = (
            features[torch.from_numpy(merged)].float().mean(0).to(features.dtype)
        )
        return kept_features

    def spread(self, values: Array) -> Array:
        """Values f32 [K] of what is read as values [N]: the mean's, shared by all it stands for."""
        each = values[self.mean] / (self.count - len(self.kept) + 1)
        spread = np.full(self.count, each, values.dtype)
        others = np.arange(len(self.kept)) != self.mean
        spread[self.kept[others]] = values[others]
        return spread


def prune(codes: Array, places: Array, height: int, width: int, keep: float) -> Pruned | None:
    """Which features of a picture of that size are read; None where all are.

    codes: i32 [h, w], quality codes of its latents. places: f32 [N, 2], x and y in the picture
    where features look, 0..1, outside of it for padding; nan for the ends of rows, which are all
    read. keep: share of the others that are read, above 0; their mean is one of them.
    """
    looking = np.flatnonzero(np.isfinite(places[:, 0]))
    most = max(1, math.ceil(keep * len(looking) - 1e-6))
    if most >= len(looking) or not np.ptp(codes):
        return None
    scores = _scores(codes, places[looking], height, width)
    order = looking[np.argsort(-scores, kind="stable")]
    dropped = np.sort(order[most - 1 :])
    middle = dropped[len(dropped) // 2]
    kept = np.sort([*np.flatnonzero(np.isnan(places[:, 0])), *order[: most - 1], middle])
    return Pruned(len(places), kept, int(np.searchsorted(kept, middle)))


def _scores(codes: Array, places: Array, height: int, width: int) -> Array:
    """f64 [N]: the code where a feature looks, and a little of the mean around; padding last."""
    rows, columns = codes.shape
    values = codes + 1e-3 * _around(codes)
    x = places[:, 0] * width / STRIDE
    y = places[:, 1] * height / STRIDE
    column, row = (np.floor(at).astype(int) for at in (x, y))
    scores = values[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
    inside = (places >= 0).all(axis=1) & (places <= 1).all(axis=1)
    return np.where(inside, scores, -1.0)


def _around(codes: Array) -> Array:
    """Mean f64 [h, w] of the codes at most NEARBY latents away."""
    padded = np.pad(codes.astype(np.float64), NEARBY, mode="edge")
    size = 2 * NEARBY + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    means: Array = windows.mean(axis=(2, 3))
    return means
