"""Runs from a bundle: its weights as checkpoints, so that training can go on where no run is left.

    bundle --> OUT/codec, OUT/clip, OUT/llava, OUT/adapter --(--start, --clip, --codec)--> new runs

The dense heads of `clip`, which no bundle holds, start anew. What it holds in fewer bits comes back
in these: float16, and 7 bits in an encoder that was quantised; a few minutes of training make up
for it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from shared import bundle as bundles
from shared.integer_network import KNOTS, STEP_UNIT, knows_before
from shared.nets.adapter import load_adapter
from shared.nets.codec import Analysis, Codec, load_synthesis
from shared.nets.entropy import BIAS_UNIT, IntegerConv
from training.codec.edge_analysis import EdgeAnalysis, undo
from training.loop.runner import CHECKPOINT, write_checkpoint
from training.small_models.conversion import unconverted
from training.tower.adapter import adapter_info

CODES_A_KNOT = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the runs")


def main(arguments: argparse.Namespace) -> None:
    """Write a run's folder for each part of the bundle."""
    bundle = bundles.open_bundle(arguments.bundle)
    codec = restore_codec(bundle)
    states: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {
        "codec": (codec.state_dict(), {"config": asdict(codec.config)})
    }
    if bundle.has(bundles.ADAPTER):
        states["adapter"] = restore_adapter(bundle)
    if bundle.has(bundles.MLLM):
        llava = LlavaForConditionalGeneration.from_pretrained(
            bundle.path(bundles.MLLM), dtype=torch.float32
        )
        states["clip"] = restore_clip(bundle, llava.model.vision_tower)
        states["llava"] = (llava.state_dict(), {})
    for name, (state, info) in states.items():
        folder: Path = arguments.out / name
        folder.mkdir(parents=True)
        spent = _spent(bundle, name)
        before = {"step": 0, "elapsed": 0.0}
        write_checkpoint(folder, {"info": info, "average": state, "earlier": before, **spent})
        print(f"{folder / CHECKPOINT}: {sum(t.numel() for t in state.values()):,} numbers")


def _spent(bundle: bundles.Bundle, name: str) -> dict[str, float]:
    """Steps and seconds that the part was trained for."""
    spent: dict[str, Any] = bundle.manifest.provenance.get(name, {})
    return {"step": spent.get("steps", 0), "elapsed": 60.0 * spent.get("minutes", 0.0)}


@torch.no_grad()
def restore_codec(bundle: bundles.Bundle) -> Codec:
    """The codec of a bundle; its widths are those that the decoder names."""
    synthesis = load_synthesis(bundle.path(bundles.DECODER))
    codec = Codec(synthesis.config)
    codec.synthesis.load_state_dict(synthesis.state_dict())
    restore_analysis(codec.analysis, bundle.path(bundles.ENCODER))
    with np.load(bundle.path(bundles.ENTROPY)) as file:
        arrays = dict(file)
    for name, layer in codec.entropy.layers().items():
        if f"{name}.weight" in arrays or knows_before(arrays):
            restore_integers(layer, arrays, name)
    hyper = codec.hyper_analysis
    for i, layer in enumerate((hyper.first, hyper.second, hyper.third)):
        layer.weight.copy_(_tensor(arrays[f"hyper_analysis{i}.weight"].T).view_as(layer.weight))
        layer.bias.copy_(_tensor(arrays[f"hyper_analysis{i}.bias"]))
    knots = slice(0, None, CODES_A_KNOT)
    gains = arrays["gains"] if "gains" in arrays else STEP_UNIT / arrays["steps"]
    codec.log_gain.copy_(_tensor(gains[knots]).log())
    codec.hyper_log_gain.copy_(_tensor(arrays["hyper_gains"][knots]).log())
    codec.hyper_scale.copy_(_tensor(arrays["hyper_scales"][knots]).float() / 32.0)
    if len(codec.log_gain) != KNOTS:
        raise ValueError(f"{bundles.ENTROPY} has gains of {len(codec.log_gain)} knots")
    return codec.eval()


@torch.no_grad()
def restore_analysis(analysis: Analysis, path: Path) -> None:
    """Weights of an encoder.onnx, plain or in 8 bits, into the network that it was made of."""
    graph = onnx.load(str(path)).graph
    known = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        name = node.name.removesuffix("_DequantizeLinear")
        if node.op_type == "DequantizeLinear" and all(each in known for each in node.input):
            known[name] = _dequantised(*(known[each] for each in node.input))
    edge = EdgeAnalysis(analysis)
    for name, weight in edge.named_parameters():
        weight.copy_(_tensor(known[name]))
    undo(edge, analysis)


def _dequantised(
    numbers: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any]
) -> NDArray[np.float32]:
    """Scales are one each of the first axis, as `training.codec.quantise` asks for."""
    shape = (-1, *[1] * (numbers.ndim - 1))
    return (numbers.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)


@torch.no_grad()
def restore_integers(layer: IntegerConv, arrays: dict[str, NDArray[Any]], name: str) -> None:
    """The layer whose `export` gives exactly these integers."""
    unit = torch.exp2(_tensor(arrays[f"{name}.shift"]).float())
    outputs, inputs, height, width = layer.weight.shape
    matrix = _tensor(arrays[f"{name}.weight"]).float().view(height, width, inputs, outputs)
    layer.weight.copy_(matrix.permute(3, 2, 0, 1) / unit.view(-1, 1, 1, 1) / layer.unit)
    bias = _tensor(arrays[f"{name}.bias"]).float() - torch.floor(unit / 2)
    layer.bias.copy_(bias / unit / BIAS_UNIT)


def restore_clip(
    bundle: bundles.Bundle, tower: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State and settings, as a run of the CLIP trainer keeps them; tower: a `CLIPVisionModel`."""
    # Here alone Scenes is needed, which the package without a checkout does not have.
    from training.small_models.clip import CONFIG, ClipWithHeads

    config = json.loads(CONFIG.read_text())
    model = ClipWithHeads(config)
    state = {f"visual.{name}": t for name, t in unconverted(tower.state_dict()).items()}
    state |= load_file(bundle.path(bundles.CLIP_TEXT))
    model.clip.load_state_dict(state)
    return model.state_dict(), {"config": config}


def restore_adapter(bundle: bundles.Bundle) -> tuple[dict[str, Tensor], dict[str, int]]:
    """State and sizes, as a run of the adapter's trainer keeps them."""
    adapter = load_adapter(bundle.path(bundles.ADAPTER))
    state = {f"adapter.{name}": t for name, t in adapter.state_dict().items()}
    return state, adapter_info(adapter.config)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.tensor(array)
