"""ONNX graphs of a bundle: written the same way, and held to what the manifest says of them."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import onnx
import torch
from safetensors import safe_open
from torch import Tensor, nn

from shared import bundle as bundles
from shared.bundle import Bundle
from shared.errors import UsageError

OPSET = 18


def write_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    outputs: tuple[str, ...],
    axes: dict[str, dict[int, str]],
    taken: str = "picture",
) -> None:
    """A graph from what is `taken` to `outputs`; `axes` names those that are free."""
    # The trace-based exporter: its graphs are smaller, and these modules have no branches on data.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=[taken],
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def check_graphs(bundle: Bundle) -> None:
    """Raise UsageError where graphs, adapter and manifest of a bundle disagree.

    The edge would find out only as it codes its first picture.
    """
    manifest = bundle.manifest
    side, patch = manifest.guidance.side, manifest.guidance.patch
    if side % patch:
        raise UsageError(f"the manifest's guidance has patches of {patch} on a square of {side}")
    grid = side // patch
    channels = manifest.codec.latent_channels
    _require(bundle, bundles.GUIDANCE, [1, 3, side, side], [1, grid, grid])
    _require(bundle, bundles.ENCODER, [1, 3, None, None], [1, channels, None, None])
    if bundle.has(bundles.PRINT):
        _require(bundle, bundles.PRINT, [1, channels, None, None], [1, None, None])
    if manifest.tower.grid is not None and manifest.tower.patch * manifest.tower.grid != side:
        raise UsageError(
            f"guidance looks at {side} pixels, the tower at {manifest.tower.patch} times "
            f"{manifest.tower.grid}"
        )
    if bundle.has(bundles.ADAPTER):
        with safe_open(str(bundle.path(bundles.ADAPTER)), framework="pt") as file:
            config = json.loads(file.metadata()["config"])
        wanted = {"latent_channels": channels, "width": manifest.tower.width}
        if manifest.tower.grid is not None:
            wanted["grid"] = manifest.tower.grid
        for name, value in wanted.items():
            if config[name] != value:
                raise UsageError(
                    f"the adapter has {name} {config[name]}, and the manifest says {value}"
                )


def _require(bundle: Bundle, name: str, taken: list[int | None], given: list[int | None]) -> None:
    """Compare the shapes of a graph's input and output; None: of any length."""
    graph = onnx.load(str(bundle.path(name))).graph
    for what, info, wanted in (
        ("takes", graph.input[0], taken),
        ("gives", graph.output[0], given),
    ):
        shape = [d.dim_value or None for d in info.type.tensor_type.shape.dim]
        agree = len(shape) == len(wanted) and all(
            w is None or s is None or s == w for s, w in zip(shape, wanted, strict=True)
        )
        if not agree:
            raise UsageError(f"{name} {what} {shape}, and by the manifest {wanted}")
