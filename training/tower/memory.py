"""What a step of training takes, said before it starts rather than by a killed process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from shared.errors import UsageError
from shared.nets.model_files import SAFE, named, without_layers

ACTIVATIONS: Final = 24  # numbers kept for each number of a token and layer, seen with CLIP-L
BESIDE: Final = 1.0  # GB: torch, the codec, the optimiser of an adapter


def require_memory(place: str, device: torch.device, dtype: torch.dtype, batch: int) -> None:
    """Raise UsageError where the weights and the activations of one view do not fit.

    Of a tower of tiles the true need is several times as high; one view is the least.
    """
    needed, free = gigabytes(place, dtype, batch), _free(device)
    if needed > free:
        raise UsageError(
            f"a step of {batch} pictures takes at least {needed:.1f} GB, and {free:.1f} are free",
            hint="lower --batch, or free memory",
        )


def gigabytes(place: str, dtype: torch.dtype, batch: int) -> float:
    """Least need of a step on `batch` pictures with the tower of the model at `place`."""
    with named(place, "vision tower"):
        config = AutoConfig.from_pretrained(place, **SAFE)
        vision: Any = without_layers(place, config).vision_config
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    weights = sum(p.numel() for p in model.parameters())
    width = getattr(vision, "embed_dim", None) or vision.hidden_size
    layers = getattr(vision, "num_hidden_layers", None) or vision.depth
    side = getattr(vision, "image_size", None) or 448
    side, patch = (n if isinstance(n, int) else max(n) for n in (side, vision.patch_size))
    kept = batch * (side // patch) ** 2 * width * layers * ACTIVATIONS
    need: float = (weights + kept) * dtype.itemsize / 1e9 + BESIDE
    return need


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free / 1e9)
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        lines = dict(line.split(":") for line in file)
    return int(lines["MemAvailable"].split()[0]) / 1e6
