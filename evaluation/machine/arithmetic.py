"""Multiply-adds of our stages, and how fast this machine does them: the limit of their time.

The limit is that of float32 matrix products. A graph in 8 bits can be faster than it.
"""

from __future__ import annotations

import json
import math
import time
from typing import Final

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge_client.guidance.guide import cell_of
from shared.bundle import ADAPTER, DECODER, ENTROPY, Bundle
from shared.coding.integer_layers import PASSES
from shared.level_map import STRIDE
from shared.nets.codec import Analysis, NetConfig, Synthesis
from shared.tiles import starts

LAYERS: Final = 3  # of the tower, the last of which needs only its attention
PRODUCT: Final = (4096, 512, 512)
TRIES: Final = 5
SHARE: Final = {
    **dict.fromkeys(("hyper1", "hyper2", "hyper_analysis2"), 1 / 16),
    **dict.fromkeys(("hyper3", "hyper_analysis1"), 1 / 4),
    "context": 3 / 4,
    **dict.fromkeys(("hidden", "own", "mean", "scale"), 1 / len(PASSES)),
}
"""At how many of the latent's positions a layer of the entropy model is computed; else at all."""


def multiply_adds(bundle: Bundle, width: int, height: int) -> dict[str, float]:
    """Of each stage for a picture of that size."""
    with safe_open(str(bundle.path(DECODER)), framework="pt") as file:
        config = NetConfig(**json.loads(file.metadata()["config"]))
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    with torch.device("meta"):
        picture = torch.empty(1, 3, rows * STRIDE, columns * STRIDE)
        latent = torch.empty(1, config.latent_channels, rows, columns)
        analysis = _of(Analysis(config), picture)
        synthesis = _of(Synthesis(config), latent, torch.empty(1, rows, columns))
    with np.load(bundle.path(ENTROPY), allow_pickle=False) as arrays:
        layers = {
            name.removesuffix(".weight"): arrays[name].size * rows * columns
            for name in arrays.files
            if name.endswith(".weight")
        }
    work = {name: count * SHARE.get(name.partition(".")[0], 1.0) for name, count in layers.items()}
    reading = sum(count for name, count in work.items() if not name.startswith("hyper_analysis"))
    counts = {"analysis": analysis, "coding": sum(work.values()), "entropy": reading}
    if bundle.has(ADAPTER):
        counts["guidance"] = _guidance(bundle, width, height)
    return {**counts, "synthesis": synthesis}


def rate() -> float:
    """Multiply-adds a second of float32 matrix products, the best of a few, by torch's threads."""
    rows, inner, columns = PRODUCT
    left, right = torch.rand(rows, inner), torch.rand(inner, columns)
    best = 0.0
    for _ in range(TRIES):
        start = time.perf_counter()
        left @ right
        best = max(best, rows * inner * columns / (time.perf_counter() - start))
    return best


def _of(module: nn.Module, *inputs: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return float(counter.get_total_flops()) / 2


def _guidance(bundle: Bundle, width: int, height: int) -> float:
    """Runs of a tower as wide as the adapter's, cut after the attention of its last layer."""
    settings = bundle.manifest.guidance
    with safe_open(str(bundle.path(ADAPTER)), framework="pt") as file:
        wide = json.loads(file.metadata()["config"])["width"]
    side, patch = settings.side, settings.patch
    patches = (side // patch) ** 2
    tokens = patches + 1
    block = 12 * wide**2 * tokens + 2 * wide * tokens**2
    run = 3 * patch**2 * wide * patches + (LAYERS - 1) * block + wide**2 * tokens
    factor = max(1.0, cell_of(settings, height, width) / patch)
    down, across = math.ceil(height / factor), math.ceil(width / factor)
    runs = 1
    if max(down, across) > side:
        runs += len(starts(down, side, patch)) * len(starts(across, side, patch))
    return float(runs * run)
