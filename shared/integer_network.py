"""The integer network: what both ends compute alike, to the last bit, on every machine.

Means and scale indices of the latents come from integers only, held in float32: a product of 8-bit
values summed over a few hundred inputs stays below 2**24, where float32 is exact whatever the order
of summation. That bound is checked for every output channel of a network that is read; nothing
learned is trusted beyond its numbers.

    hyper latent z [h/4, w/4, Cz] --hyper1, hyper2, hyper3--+
    quality codes [h, w] -----------------------------------+--mix--> features [h, w, F]
      |
      '--> in each pass k of four, beside what `context` makes of the neighbours that are known
           --hidden.k--> mean.k, scale.k --(the pass's symbols)--> context

    0 2    The passes in each square of two by two latents: the first is read without neighbours,
    3 1    the next two with four of them, the last with all eight.

Arrays are channels-last, so that each layer is one matrix product. The trainable twin of this
network is drawn in `shared.nets.entropy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

KNOTS: Final = 10
CODES: Final = 181  # quality codes 0..180
ACTIVATION_MAX: Final = 255
WEIGHT_LIMIT: Final = 127
CONTEXT_LIMIT: Final = 127  # half latent units
MEAN_UNIT: Final = 16
MEAN_LIMIT: Final = 2047
SCALES: Final = 64
EXACT: Final = 1 << 24  # integers below it are exact in float32

Array = NDArray[Any]
Here = tuple[slice, slice]
SymbolsOf = Callable[[Here, Array, Array], Array]
_STRAIGHT = ((-1, 0), (1, 0), (0, -1), (0, 1))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
PASSES: Final = (
    ((0, 0), ()),
    ((1, 1), _DIAGONAL),
    ((0, 1), _STRAIGHT),
    ((1, 0), _STRAIGHT + _DIAGONAL),
)
"""Of each pass row and column of its latents, modulo 2, and where their known neighbours are."""
_COMMON = ("hyper1", "hyper2", "hyper3", "mix", "context")
_LAYERS = (*_COMMON, *(f"{n}.{k}" for n in ("hidden", "mean", "scale") for k in range(len(PASSES))))
_SIGNED_INPUT = {"hyper1", "context"}
_OUTPUT_RANGE = {"mean": (-MEAN_LIMIT, MEAN_LIMIT), "scale": (0, SCALES - 1)}
_BLOCK = 512  # latents at a time: what lies between two layers stays in the cache
_TENT = 12 * np.maximum(0, 20 - np.abs(np.arange(CODES)[:, None] - 20 * np.arange(KNOTS)))


@dataclass(frozen=True)
class _Layer:
    """out = clip(floor(x @ weight + bias), low, high); weight and bias hold the layer's shift.

    They are integers times a power of two, so the products and sums are as exact as of integers.
    """

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs], holds the half that turns floor into rounding
    low: int
    high: int

    def __call__(self, x: Array) -> Array:
        # Flat, since numpy multiplies stacks of matrices one by one.
        out: Array = x.reshape(-1, x.shape[-1]) @ self.weight
        out += self.bias
        np.floor(out, out=out)
        np.maximum(out, self.low, out=out)
        np.minimum(out, self.high, out=out)
        return out.reshape(*x.shape[:-1], len(self.bias))


class IntegerNetwork:
    """Means and scale indices from integers. Raises ValueError or KeyError for other arrays.

    arrays: of `entropy.npz`, for latents of `channels` and hyper latents of `hyper_channels`.
    """

    def __init__(
        self, arrays: dict[str, Array], channels: int, hyper_channels: int, dtype: DTypeLike
    ) -> None:
        _check_form(arrays, channels, hyper_channels)
        self._dtype = np.dtype(dtype)
        self._layers = {name: _build_layer(name, arrays, self._dtype) for name in _LAYERS}
        self._channels = channels
        self._context_width = len(self._layers["context"].bias)

    def features(self, z: Array, quality: Array) -> Array:
        """Shared features u8 [h, w, F] of an integer hyper latent and quality codes [h, w]."""
        height, width = quality.shape
        rows, columns = z.shape[:2]
        padded = np.pad(z.astype(self._dtype), ((1, 1), (1, 1), (0, 0)))
        taps = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
        x = self._layers["hyper1"](np.concatenate(taps, axis=-1))
        x = _depth_to_space(self._layers["hyper2"](x))
        # What lies between layers is 0..255: as bytes, it is small where the picture is large.
        x = _depth_to_space(self._layers["hyper3"](x).astype(np.uint8))[:height, :width]
        mix, tent = self._layers["mix"], _TENT.astype(self._dtype)
        features = np.empty((height, width, len(mix.bias)), np.uint8)
        for part in blocks(height, width):
            features[part] = mix(np.concatenate([x[part], tent[quality[part]]], axis=-1))
        return features

    def walk(self, features: Array, symbols_of: SymbolsOf) -> None:
        """Ask for the symbols of each pass, with what those before it told.

        features: u8 [h, w, F]. symbols_of(here, mean, index) is given where the pass's latents are
        among [h, w], their means i16 [r, c, C] (1/16 units) and scale indices u8 [r, c, C], and
        gives their symbols [r, c, C].
        """
        height, width = features.shape[:2]
        # With one more row and column on each side every latent has all its neighbours.
        grid = np.zeros((height + 2, width + 2, self._context_width), np.uint8)
        for k, ((row, column), near) in enumerate(PASSES):
            here = slice(row, None, 2), slice(column, None, 2)
            seen = [
                grid[1 + row + y : 1 + height + y : 2, 1 + column + x : 1 + width + x : 2]
                for y, x in near
            ]
            mean, index = self._outputs(k, [features[here], *seen])
            symbols = symbols_of(here, mean, index)
            if k < len(PASSES) - 1:
                self._remember(grid[1:-1, 1:-1][here], symbols, mean)

    def _outputs(self, k: int, inputs: list[Array]) -> tuple[Array, Array]:
        """Mean and scale index of pass `k`, [r, c, C] each, from what lies side by side."""
        hidden, means, scales = (self._layers[f"{n}.{k}"] for n in ("hidden", "mean", "scale"))
        shape = (*inputs[0].shape[:2], self._channels)
        mean, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        for part in blocks(*shape[:2]):
            x = np.concatenate([each[part] for each in inputs], axis=-1, dtype=self._dtype)
            x = hidden(x)
            mean[part] = means(x)
            index[part] = scales(x)
        return mean, index

    def _remember(self, grid: Array, symbols: Array, mean: Array) -> None:
        """Note in `grid` [r, c, K] what later passes see of latents."""
        context = self._layers["context"]
        for part in blocks(*mean.shape[:2]):
            sixteenths = symbols[part].astype(np.int32) * MEAN_UNIT + mean[part]
            near = np.clip((sixteenths + MEAN_UNIT // 4) >> 3, -CONTEXT_LIMIT, CONTEXT_LIMIT)
            grid[part] = context(near.astype(self._dtype))


def _check_form(arrays: dict[str, Array], channels: int, hyper_channels: int) -> None:
    """Raise ValueError or KeyError where layers are absent or do not fit one another."""
    sides = {name: arrays[f"{name}.weight"].shape for name in _LAYERS}
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
    for k, (_, near) in enumerate(PASSES):
        wanted[f"hidden.{k}"] = outputs["mix"] + len(near) * outputs["context"]
        for name in (f"mean.{k}", f"scale.{k}"):
            wanted[name] = outputs[f"hidden.{k}"]
            if outputs[name] != channels:
                raise ValueError(f"layer {name} is not {channels} channels wide")
    for name, count in wanted.items():
        if inputs[name] != count or outputs[name] < 1:
            raise ValueError(f"layer {name} takes {inputs[name]} inputs instead of {count}")
        if any(arrays[f"{name}.{kind}"].shape != (outputs[name],) for kind in ("bias", "shift")):
            raise ValueError(f"layer {name} lacks a bias or shift for each output")


def _build_layer(name: str, arrays: dict[str, Array], dtype: np.dtype[Any]) -> _Layer:
    weight = np.asarray(arrays[f"{name}.weight"], np.int64)
    bias = np.asarray(arrays[f"{name}.bias"], np.int64)
    shift = np.asarray(arrays[f"{name}.shift"], np.int64)
    largest = WEIGHT_LIMIT if name in _SIGNED_INPUT else ACTIVATION_MAX
    worst = np.abs(weight).sum(axis=0) * largest + np.abs(bias)
    if worst.max() >= EXACT or shift.min() < 0 or shift.max() > 23:
        raise ValueError(f"layer {name} can leave the exact range of float32")
    low, high = _OUTPUT_RANGE.get(name.split(".")[0], (0, ACTIVATION_MAX))
    unit = np.exp2(-shift.astype(np.float64))
    return _Layer((weight * unit).astype(dtype), (bias * unit).astype(dtype), low, high)


def blocks(height: int, width: int) -> list[slice]:
    """Slices of rows that cover [height, width], small enough each to stay in the cache."""
    rows = max(1, _BLOCK // max(1, width))
    return [slice(top, top + rows) for top in range(0, height, rows)]


def _depth_to_space(x: Array) -> Array:
    """[h, w, 4C] -> [2h, 2w, C], as torch's pixel_shuffle."""
    height, width, channels = x.shape
    x = x.reshape(height, width, channels // 4, 2, 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, channels // 4)
