"""The integer network: what both ends compute alike, to the last bit, on every machine.

Means and scale indices of the latents come from integers only, held in float32: a product of 8-bit
values summed over at most 512 inputs stays below 2**24, where float32 is exact whatever the order
of summation. That bound is checked for every output channel of a network that is read; nothing
learned is trusted beyond its numbers.

    hyper latent z [h/4, w/4, Cz] --hyper1, hyper2, hyper3--+
    quality codes [h, w] -----------------------------------+--mix--> features [h * w, F]
      |--> anchors (row + column even):                anchor1 --> anchor_mean, anchor_scale
      `--> the rest, with their neighbouring anchors:  other1  --> other_mean, other_scale

Arrays are channels-last, so that each layer is one matrix product. The trainable twin of this
network is drawn in `shared.nets.entropy`.
"""

from __future__ import annotations

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
_LAYERS = (
    *("hyper1", "hyper2", "hyper3", "mix", "anchor1", "anchor_mean", "anchor_scale"),
    *("context", "other1", "other_mean", "other_scale"),
)
_SIGNED_INPUT = {"hyper1", "context"}
_OUTPUT_RANGE = {
    "anchor_mean": (-MEAN_LIMIT, MEAN_LIMIT),
    "other_mean": (-MEAN_LIMIT, MEAN_LIMIT),
    "anchor_scale": (0, SCALES - 1),
    "other_scale": (0, SCALES - 1),
}
_BLOCK = 512  # positions at a time: what lies between two layers stays in the cache
_TENT = 12 * np.maximum(0, 20 - np.abs(np.arange(CODES)[:, None] - 20 * np.arange(KNOTS)))


@dataclass(frozen=True)
class Checkerboard:
    """Flat positions of a latent of `height` x `width`: the first pass and the second."""

    height: int
    width: int
    anchors: Array  # [N], row + column even
    rest: Array  # [M]

    @classmethod
    def of(cls, height: int, width: int) -> Checkerboard:
        odd = (np.arange(height)[:, None] + np.arange(width)).ravel() % 2
        return cls(height, width, np.flatnonzero(odd == 0), np.flatnonzero(odd))

    def padded(self, places: Array) -> Array:
        """The same places in a grid with one more row and column on each side."""
        grid: Array = places + 2 * (places // self.width) + self.width + 3
        return grid


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
        out: Array = x @ self.weight
        out += self.bias
        np.floor(out, out=out)
        np.maximum(out, self.low, out=out)
        return np.minimum(out, self.high, out=out)


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

    def features(self, z: Array, quality: Array) -> Array:
        """Shared features u8 [h * w, F] of an integer hyper latent and quality codes [h, w]."""
        height, width = quality.shape
        rows, columns = z.shape[:2]
        padded = np.pad(z.astype(self._dtype), ((1, 1), (1, 1), (0, 0)))
        taps = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
        x = self._layers["hyper1"](np.concatenate(taps, axis=-1))
        x = _depth_to_space(self._layers["hyper2"](x))
        # What lies between layers is 0..255: as bytes, it is small where the picture is large.
        x = _depth_to_space(self._layers["hyper3"](x).astype(np.uint8))[:height, :width]
        x, codes, tent = x.reshape(height * width, -1), quality.ravel(), _TENT.astype(self._dtype)
        mix = self._layers["mix"]
        features = np.empty((height * width, len(mix.bias)), np.uint8)
        for part in blocks(len(features)):
            features[part] = mix(np.concatenate([x[part], tent[codes[part]]], axis=-1))
        return features

    def anchors(self, features: Array, board: Checkerboard) -> tuple[Array, Array]:
        """Mean i16 (1/16 units) and scale index u8 of the anchors, [N, C] each."""
        mean, index = self._outputs(len(board.anchors))
        for part in blocks(len(mean)):
            hidden = self._layers["anchor1"](features[board.anchors[part]].astype(self._dtype))
            mean[part] = self._layers["anchor_mean"](hidden)
            index[part] = self._layers["anchor_scale"](hidden)
        return mean, index

    def rest(
        self, features: Array, board: Checkerboard, symbols: Array, mean: Array
    ) -> tuple[Array, Array]:
        """The same of all other positions [M, C], given symbols and mean of the anchors [N, C]."""
        grid = self._context(board, symbols, mean)
        own, near = features.shape[1], grid.shape[1]
        found, index = self._outputs(len(board.rest))
        row = board.width + 2
        for part in blocks(len(found)):
            places = board.rest[part]
            x = np.empty((len(places), own + 4 * near), self._dtype)
            x[:, :own] = features[places]
            middle = board.padded(places)
            for i, step in enumerate((-row, row, -1, 1)):
                x[:, own + i * near : own + (i + 1) * near] = grid[middle + step]
            hidden = self._layers["other1"](x)
            found[part] = self._layers["other_mean"](hidden)
            index[part] = self._layers["other_scale"](hidden)
        return found, index

    def _context(self, board: Checkerboard, symbols: Array, mean: Array) -> Array:
        """What the rest sees of the anchors: u8 [(h + 2) * (w + 2), 64], zero but at anchors."""
        layer = self._layers["context"]
        grid = np.zeros(((board.height + 2) * (board.width + 2), len(layer.bias)), np.uint8)
        places = board.padded(board.anchors)
        for part in blocks(len(mean)):
            sixteenths = symbols[part].astype(np.int32) * MEAN_UNIT + mean[part]
            near = np.clip((sixteenths + MEAN_UNIT // 4) >> 3, -CONTEXT_LIMIT, CONTEXT_LIMIT)
            grid[places[part]] = layer(near.astype(self._dtype))
        return grid

    def _outputs(self, count: int) -> tuple[Array, Array]:
        shape = (count, self._channels)
        return np.empty(shape, np.int16), np.empty(shape, np.uint8)


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
        "anchor1": outputs["mix"],
        "context": channels,
        "other1": outputs["mix"] + 4 * outputs["context"],
    }
    for head in ("anchor", "other"):
        for kind in ("mean", "scale"):
            wanted[f"{head}_{kind}"] = outputs[f"{head}1"]
            if outputs[f"{head}_{kind}"] != channels:
                raise ValueError(f"layer {head}_{kind} is not {channels} channels wide")
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
    low, high = _OUTPUT_RANGE.get(name, (0, ACTIVATION_MAX))
    unit = np.exp2(-shift.astype(np.float64))
    return _Layer((weight * unit).astype(dtype), (bias * unit).astype(dtype), low, high)


def blocks(count: int) -> list[slice]:
    """Slices that cover `count` positions, few enough each to stay in the cache."""
    return [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]


def _depth_to_space(x: Array) -> Array:
    """[h, w, 4C] -> [2h, 2w, C], as torch's pixel_shuffle."""
    height, width, channels = x.shape
    x = x.reshape(height, width, channels // 4, 2, 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, channels // 4)
