"""The codec of a bundle as a network that can be trained on, or that training can code with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from shared import bundle as bundles
from shared.coding.integer_layers import KNOTS, STEP_UNIT, knows_before
from shared.nets.codec import Analysis, Codec, load_synthesis
from shared.nets.entropy import BIAS_UNIT, IntegerConv
from training.codec.edge_analysis import EdgeAnalysis, undo

CODES_A_KNOT = 20


@torch.no_grad()
def restore_codec(bundle: bundles.Bundle) -> Codec:
    """The codec of a bundle; its widths are those that the decoder names."""
    synthesis = load_synthesis(bundle.path(bundles.DECODER))
    codec = Codec(synthesis.config)
    codec.synthesis.load_state_dict(synthesis.state_dict())
    restore_analysis(codec.analysis, bundle.path(bundles.ENCODER))
    with np.load(bundle.path(bundles.ENTROPY)) as file:
        arrays = dict(file)
    for name, integers in codec.entropy.layers().items():
        if f"{name}.weight" in arrays or knows_before(arrays):
            restore_integers(integers, arrays, name)
    hyper = codec.hyper_analysis
    for i, layer in enumerate((hyper.first, hyper.second, hyper.third)):
        for kind, parameter in layer.named_parameters():
            array = arrays[f"hyper_analysis{i}.{kind}"]
            parameter.copy_(_tensor(array.T).view_as(parameter))
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
    weight: NDArray[np.float32] = numbers.astype(np.float32) - zero.reshape(shape)
    weight *= scale.reshape(shape)
    return weight


@torch.no_grad()
def restore_integers(layer: IntegerConv, arrays: dict[str, NDArray[Any]], name: str) -> None:
    """The layer whose `export` gives exactly these integers."""
    unit = torch.exp2(_tensor(arrays[f"{name}.shift"]).float())
    outputs, inputs, height, width = layer.weight.shape
    matrix = _tensor(arrays[f"{name}.weight"]).float().view(height, width, inputs, outputs)
    layer.weight.copy_(matrix.permute(3, 2, 0, 1) / unit.view(-1, 1, 1, 1) / layer.unit)
    bias = _tensor(arrays[f"{name}.bias"]).float() - torch.floor(unit / 2)
    layer.bias.copy_(bias / unit / BIAS_UNIT)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.tensor(array)
