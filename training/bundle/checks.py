"""What an export is held against: the trained modules, on one drawn picture."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from shared.libraries import import_onnxruntime


def example_picture(height: int, width: int) -> Tensor:
    """Smooth colours f32 [1, 3, height, width] in 0..1, the same at every size."""
    coarse = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def run_graph(path: Path, picture: Tensor) -> Tensor:
    """The first output of a graph that takes a `picture`."""
    session = import_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"picture": picture.numpy()})[0])


def differences(wanted: Tensor, output: Tensor) -> tuple[float, float]:
    """The largest difference and the root of its mean square."""
    difference = wanted - output
    return float(difference.abs().max()), float(difference.square().mean().sqrt())


def require(condition: bool, line: str) -> None:
    """Raise AssertionError where an export is not what its line should say."""
    if not condition:
        raise AssertionError(f"the export is not what was trained: {line}")
