"""The layers of the integer network: which there are, how they fit, and that they are exact.

A layer is one matrix product of 8-bit integers, held in floats. What a network needs of layers is
checked when its arrays are read; nothing learned is trusted beyond its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KNOTS: Final = 10
CODES: Final = 181  # quality codes 0..180
ACTIVATION_MAX: Final = 255
WEIGHT_LIMIT: Final = 127
CONTEXT_LIMIT: Final = 127  # half latent units
MEAN_UNIT: Final = 16
MEAN_LIMIT: Final = 2047
HIDDEN_LIMIT: Final = 2047  # before the clipping to 0..255
SYMBOL_SEEN: Final = 127  # of what earlier groups hold
BEFORE_LIMIT: Final = 16_383  # sixteenths of own steps, of latents that the reader has before
NEARNESS: Final = 64  # of latents that were coded in steps like the own ones
STEP_UNIT: Final = 256  # quantiser steps are integers, in 256ths of an 8-bit unit
SCALES: Final = 64
EXACT: Final = 1 << 24  # integers below it are exact in float32

Array = NDArray[Any]
Product = Callable[[Array, Array], Array]
"""Of matrices of floats [n, inputs] and [inputs, outputs]. Those here hold integers of 8 bits,
times a power of two each column: whatever product is quickest on a machine is exact."""
_STRAIGHT = ((-1, 0), (1, 0), (0, -1), (0, 1))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
PASSES: Final = (
    ((0, 0), ()),
    ((1, 1), _DIAGONAL),
    ((0, 1), _STRAIGHT),
    ((1, 0), _STRAIGHT + _DIAGONAL),
)
"""Of each pass row and column of its latents, modulo 2, and where their known neighbours are."""
LAST_CODE: Final = CODES - 1
RATIOS: Final = np.round(256 * 30 ** (np.arange(-LAST_CODE, LAST_CODE + 1) / LAST_CODE)).astype(int)
"""By quality code less a neighbour's, plus 180: 256ths of the neighbour's quantiser step in the own
one, as 30 lie between the first quality and the last. What is told of it counts in own steps. No
value lies within 9e-5 of a half: every machine rounds it alike."""
GROUPS: Final = 6
"""Of a pass the channels are read in groups, one after the other."""
_COMMON = ("hyper1", "hyper2", "hyper3", "mix", "context")
BEFORE_LAYERS = (
    *("before1", "before2"),
    *(f"before.{k}" for k in range(len(PASSES))),
    *(f"gate.{k}.{g}" for k in range(len(PASSES)) for g in range(GROUPS)),
)
LAYERS = (
    *_COMMON,
    *(f"hidden.{k}" for k in range(len(PASSES))),
    *(f"own.{k}.{g}" for k in range(len(PASSES)) for g in range(GROUPS - 1)),
    *(f"{n}.{k}.{g}" for n in ("mean", "scale") for k in range(len(PASSES)) for g in range(GROUPS)),
)
_SIGNED_INPUT = {"hyper1", "context", "own", "before1"}
_OUTPUT_RANGE = {
    **dict.fromkeys(("hidden", "own", "before"), (-HIDDEN_LIMIT, HIDDEN_LIMIT)),
    "mean": (-MEAN_LIMIT, MEAN_LIMIT),
    "scale": (0, SCALES - 1),
}


@dataclass(frozen=True)
class Layer:
    """out = clip(floor(x @ weight + bias), low, high); weight and bias hold the layer's shift.

    They are integers times a power of two, so the products and sums are as exact as of integers.
    """

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs], holds the half that turns floor into rounding
    low: Array  # [outputs], as high
    high: Array
    product: Product

    def __call__(self, x: Array) -> Array:
        # Flat, since numpy multiplies stacks of matrices one by one.
        out = self.product(x.reshape(-1, x.shape[-1]), self.weight)
        out += self.bias
        np.floor(out, out=out)
        np.maximum(out, self.low, out=out)
        np.minimum(out, self.high, out=out)
        return out.reshape(*x.shape[:-1], len(self.bias))


def knows_before(arrays: dict[str, Array]) -> bool:
    """Whether a network was made to go on from latents that are there before."""
    return "before1.weight" in arrays


def check_form(arrays: dict[str, Array], channels: int, hyper_channels: int) -> None:
    """Raise ValueError or KeyError where layers are absent or do not fit one another."""
    before = knows_before(arrays)
    names = LAYERS + BEFORE_LAYERS if before else LAYERS
    sides = {name: arrays[f"{name}.weight"].shape for name in names}
    if any(len(s) != 2 or arrays[f"{n}.weight"].dtype.kind != "i" for n, s in sides.items()):
        raise ValueError("a layer's weight is a matrix of integers")
    inputs, outputs = ({name: side[i] for name, side in sides.items()} for i in (0, 1))
    wanted = {
        "hyper1": 9 * hyper_channels,
        "hyper2": outputs["hyper1"],
        "hyper3": outputs["hyper2"] // 4,
        "mix": outputs["hyper3"] // 4 + KNOTS,
        "context": channels,
    }
    widths = [outputs[f"mean.0.{g}"] for g in range(GROUPS)]
    if sum(widths) != channels:
        raise ValueError(f"the groups hold {sum(widths)} channels instead of {channels}")
    for k, (_, near) in enumerate(PASSES):
        wanted[f"hidden.{k}"] = outputs["mix"] + len(near) * outputs["context"]
        for g, width in enumerate(widths):
            for name in (f"mean.{k}.{g}", f"scale.{k}.{g}"):
                wanted[name] = outputs[f"hidden.{k}"]
                _check_width(name, outputs[name], width)
        for g, width in enumerate(widths[:-1]):
            wanted[f"own.{k}.{g}"] = 2 * width
            _check_width(f"own.{k}.{g}", outputs[f"own.{k}.{g}"], outputs[f"hidden.{k}"])
        if before:
            wanted[f"before.{k}"] = outputs["before2"]
            _check_width(f"before.{k}", outputs[f"before.{k}"], outputs[f"hidden.{k}"])
            for g, width in enumerate(widths):
                wanted[f"gate.{k}.{g}"] = outputs[f"hidden.{k}"]
                _check_width(f"gate.{k}.{g}", outputs[f"gate.{k}.{g}"], width)
    if before:
        wanted |= {"before1": 2 * channels + 1, "before2": 9 * outputs["before1"]}
    for name, count in wanted.items():
        if inputs[name] != count or outputs[name] < 1:
            raise ValueError(f"layer {name} takes {inputs[name]} inputs instead of {count}")
        if any(arrays[f"{name}.{kind}"].shape != (outputs[name],) for kind in ("bias", "shift")):
            raise ValueError(f"layer {name} lacks a bias or shift for each output")


def _check_width(name: str, outputs: int, wanted: int) -> None:
    if outputs != wanted:
        raise ValueError(f"layer {name} has {outputs} outputs instead of {wanted}")


def build_layer(
    name: str, arrays: dict[str, Array], dtype: np.dtype[Any], product: Product
) -> Layer:
    weight = np.asarray(arrays[f"{name}.weight"], np.int64)
    bias = np.asarray(arrays[f"{name}.bias"], np.int64)
    shift = np.asarray(arrays[f"{name}.shift"], np.int64)
    kind = name.partition(".")[0]
    largest = WEIGHT_LIMIT if kind in _SIGNED_INPUT else ACTIVATION_MAX
    worst = np.abs(weight).sum(axis=0) * largest + np.abs(bias)
    if worst.max() >= EXACT or shift.min() < 0 or shift.max() > 23:
        raise ValueError(f"layer {name} can leave the exact range of float32")
    low, high = _OUTPUT_RANGE.get(kind, (0, ACTIVATION_MAX))
    unit = np.exp2(-shift.astype(np.float64))
    return Layer(
        weight=(weight * unit).astype(dtype),
        bias=(bias * unit).astype(dtype),
        low=np.full(len(bias), low, dtype),
        high=np.full(len(bias), high, dtype),
        product=product,
    )


def side_by_side(left: Layer, right: Layer) -> Layer:
    """One layer with the outputs of both: one product is quicker than two narrow ones."""
    weight, bias, low, high = (
        np.concatenate([getattr(left, name), getattr(right, name)], axis=-1)
        for name in ("weight", "bias", "low", "high")
    )
    return Layer(weight, bias, low, high, left.product)
