"""The integer network: what both ends compute alike, to the last bit, on every machine.

Means and scale indices of the latents come from integers only, held in float32: a product of 8-bit
values summed over a few hundred inputs stays below 2**24, where float32 is exact whatever the order
of summation. That bound is checked for every output channel of a network that is read; nothing
learned is trusted beyond its numbers.

    hyper latent z [h/4, w/4, Cz] --hyper1, hyper2, hyper3--+
    quality codes [h, w] -----------------------------------+--mix--> features [h, w, F]
      |
      '--> in each pass k of four, beside what `context` makes of the neighbours that are known
           --hidden.k--> for each group g of channels: mean.k.g, scale.k.g
                           ^             --(the group's symbols)--> own.k.g --+
                           '------------------- added ------------------------'

Where the reader already has latents of this picture (a base that is continued, the frame before):

    these, in own steps --before1, before2--> before.k --> added to what hidden.k says
                      '--> each mean moves towards its latent by the share that gate.k.g says

    0 2    The passes in each square of two by two latents: the first is read without neighbours,
    3 1    the next two with four of them, the last with all eight.

Arrays are channels-last, so that each layer is one matrix product. The trainable twin of this
network is drawn in `shared.nets.entropy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
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
HIDDEN_LIMIT: Final = 2047  # before the clipping to 0..255
SYMBOL_SEEN: Final = 127  # of what earlier groups hold
BEFORE_LIMIT: Final = 16_383  # sixteenths of own steps, of latents that the reader has before
NEARNESS: Final = 64  # of latents that were coded in steps like the own ones
STEP_UNIT: Final = 256  # quantiser steps are integers, in 256ths of an 8-bit unit
SCALES: Final = 64
EXACT: Final = 1 << 24  # integers below it are exact in float32

Array = NDArray[Any]
Here = tuple[slice, slice, slice]
SymbolsOf = Callable[[Here, Array, Array], Array]
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
_BEFORE = (
    *("before1", "before2"),
    *(f"before.{k}" for k in range(len(PASSES))),
    *(f"gate.{k}.{g}" for k in range(len(PASSES)) for g in range(GROUPS)),
)
_LAYERS = (
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
_BLOCK = 512  # latents at a time: what lies between two layers stays in the cache
_TENT = 12 * np.maximum(0, 20 - np.abs(np.arange(CODES)[:, None] - 20 * np.arange(KNOTS)))


@dataclass(frozen=True)
class _Layer:
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


@dataclass(frozen=True)
class Before:
    """Latents that the reader has before it reads: a base that is continued, the frame before.

    values: i64 [h, w, C], in 4096ths of an 8-bit unit: sixteenths of the steps that they were coded
    in. codes: i32 [h, w], the quality codes of these; -1 where nothing is there. hyper: their
    hyper latent i32 [h/4, w/4, Cz] where it stands for the own one, which is not coded then.
    """

    values: Array
    codes: Array
    hyper: Array | None = None


@dataclass(frozen=True)
class _Seen:
    """`Before` as a pass sees it: sixteenths of own steps i32 [h, w, C], 0 where nothing is there;
    where something is, bool [h, w]; what `before2` makes of it all, u8 [h, w, K]."""

    sixteenths: Array
    there: Array
    features: Array


class IntegerNetwork:
    """Means and scale indices from integers. Raises ValueError or KeyError for other arrays.

    arrays: of `entropy.npz`, for latents of `channels` and hyper latents of `hyper_channels`.
    """

    def __init__(
        self,
        arrays: dict[str, Array],
        channels: int,
        hyper_channels: int,
        dtype: DTypeLike,
        product: Product = np.matmul,
    ) -> None:
        _check_form(arrays, channels, hyper_channels)
        self._dtype = np.dtype(dtype)
        names = _LAYERS + _BEFORE if knows_before(arrays) else _LAYERS
        self._layers = {name: _build_layer(name, arrays, self._dtype, product) for name in names}
        self._both = {
            (k, g): _side_by_side(self._layers[f"mean.{k}.{g}"], self._layers[f"scale.{k}.{g}"])
            for k in range(len(PASSES))
            for g in range(GROUPS)
        }
        self._channels = channels
        self._groups = _groups(arrays)
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

    def walk(
        self,
        features: Array,
        quality: Array,
        symbols_of: SymbolsOf,
        before: Before | None = None,
        steps: Array | None = None,
    ) -> None:
        """Ask for the symbols of each group of each pass, with what those before it told.

        features: u8 [h, w, F]. quality: i32 [h, w]. symbols_of(here, mean, index) is given where
        the group's latents are among [h, w, C], their means i16 [r, c, G] (1/16 units) and scale
        indices u8 [r, c, G], and gives their symbols [r, c, G]. steps: i64 [h, w, C], the own ones,
        with `before`. Raises ValueError for that where the network was not made for it.
        """
        seen = None if before is None else self._see(before, quality, steps)
        height, width = features.shape[:2]
        # With one more row and column on each side every latent has all its neighbours.
        grid = np.zeros((height + 2, width + 2, self._context_width), np.uint8)
        codes = np.pad(quality, 1, mode="edge")
        for k, ((row, column), near) in enumerate(PASSES):
            rows, columns = slice(row, None, 2), slice(column, None, 2)
            around = [
                (slice(1 + row + y, 1 + height + y, 2), slice(1 + column + x, 1 + width + x, 2))
                for y, x in near
            ]
            ratios = [RATIOS[LAST_CODE + quality[rows, columns] - codes[there]] for there in around]
            neighbours = [grid[there] for there in around]
            activations = self._activations(k, features[rows, columns], neighbours, ratios)
            if seen is not None:
                self._add(f"before.{k}", seen.features[rows, columns], activations)
            latents = np.empty((*activations.shape[:2], self._channels), np.int32)
            for g, channels in enumerate(self._groups):
                here = (rows, columns, channels)
                mean, index = self._outputs(k, g, activations)
                if seen is not None:
                    mean = self._moved(f"gate.{k}.{g}", activations, mean, seen, here)
                symbols = symbols_of(here, mean, index)
                if g < GROUPS - 1:
                    self._add(f"own.{k}.{g}", symbols, activations)
                np.multiply(symbols, MEAN_UNIT, out=latents[..., channels], dtype=np.int32)
                latents[..., channels] += mean
            if k < len(PASSES) - 1:
                self._remember(grid[1:-1, 1:-1][rows, columns], latents)

    def _activations(
        self, k: int, features: Array, seen: list[Array], ratios: list[Array]
    ) -> Array:
        """What pass `k` knows, [r, c, H], of neighbours u8 [r, c, K] at ratios [r, c] each."""
        hidden = self._layers[f"hidden.{k}"]
        activations = np.empty((*features.shape[:2], len(hidden.bias)), self._dtype)
        for part in blocks(*activations.shape[:2]):
            near = (_in_own_steps(x[part], r[part]) for x, r in zip(seen, ratios, strict=True))
            x = np.concatenate([features[part], *near], axis=-1, dtype=self._dtype)
            activations[part] = hidden(x)
        return activations

    def _outputs(self, k: int, g: int, activations: Array) -> tuple[Array, Array]:
        """Mean and scale index of group `g` of pass `k`, [r, c, G] each."""
        both = self._both[k, g]
        width = len(both.bias) // 2
        shape = (*activations.shape[:2], width)
        mean, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        for part in blocks(*shape[:2]):
            x = np.maximum(activations[part], 0)
            out = both(np.minimum(x, ACTIVATION_MAX, out=x))
            mean[part], index[part] = out[..., :width], out[..., width:]
        return mean, index

    def _see(self, before: Before, quality: Array, steps: Array | None) -> _Seen:
        """What all passes see of latents that were there before."""
        if "before1" not in self._layers or steps is None:
            raise ValueError("this network was not made to go on from other latents")
        there = before.codes >= 0
        steps = np.where(there[..., None], steps, 1)
        sixteenths = (2 * before.values + steps) // (2 * steps)
        np.clip(sixteenths, -BEFORE_LIMIT, BEFORE_LIMIT, out=sixteenths)
        sixteenths *= there[..., None]
        near = np.where(there, RATIOS[LAST_CODE + np.where(there, before.codes - quality, 0)], 0)
        near = np.minimum((near * NEARNESS + 128) >> 8, WEIGHT_LIMIT)
        halves = _halves(sixteenths)
        x = np.concatenate([halves, np.abs(halves), near[..., None]], -1, dtype=self._dtype)
        rows, columns = quality.shape
        padded = np.pad(self._layers["before1"](x), ((1, 1), (1, 1), (0, 0)))
        taps = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
        features = self._layers["before2"](np.concatenate(taps, axis=-1)).astype(np.uint8)
        return _Seen(sixteenths.astype(np.int32), there, features)

    def _moved(self, gate: str, activations: Array, mean: Array, seen: _Seen, here: Here) -> Array:
        """Means i16 [r, c, G], each moved towards what was there before by the gate's share."""
        share = self._layers[gate](activations.clip(0, ACTIVATION_MAX)).astype(np.int32)
        share += share >> 7  # 0..256
        share *= seen.there[here[:2]][..., None]
        distance = seen.sixteenths[here] - mean
        moved: Array = mean + ((share * distance + 128) >> 8)
        return moved.astype(np.int16)

    def _add(self, name: str, seen: Array, activations: Array) -> None:
        """Add to what a pass knows, [r, c, H], what a layer says of symbols or features."""
        layer = self._layers[name]
        for part in blocks(*activations.shape[:2]):
            x = seen[part]
            if name.startswith("own"):
                x = np.clip(x, -SYMBOL_SEEN, SYMBOL_SEEN)
                x = np.concatenate([x, np.abs(x)], axis=-1)
            activations[part] += layer(x.astype(self._dtype))

    def _remember(self, grid: Array, latents: Array) -> None:
        """Note in `grid` [r, c, K] what later passes see of latents [r, c, C] in sixteenths."""
        context = self._layers["context"]
        for part in blocks(*latents.shape[:2]):
            grid[part] = context(_halves(latents[part]).astype(self._dtype))


def knows_before(arrays: dict[str, Array]) -> bool:
    """Whether a network was made to go on from latents that are there before."""
    return "before1.weight" in arrays


def _halves(sixteenths: Array) -> Array:
    """What layers see of latents in sixteenths: halves, rounded and clipped."""
    halves: Array = np.clip((sixteenths + MEAN_UNIT // 4) >> 3, -CONTEXT_LIMIT, CONTEXT_LIMIT)
    return halves


def _in_own_steps(seen: Array, ratio: Array) -> Array:
    """What is told of neighbours, [r, c, K], times 256ths [r, c]."""
    if (ratio == 256).all():
        return seen
    scaled: Array = np.minimum((seen * ratio[..., None] + 128) >> 8, ACTIVATION_MAX)
    return scaled


def _groups(arrays: dict[str, Array]) -> list[slice]:
    """The channels of each group: as many as its layers have outputs."""
    widths = [arrays[f"mean.0.{g}.weight"].shape[-1] for g in range(GROUPS)]
    ends = np.cumsum([0, *widths]).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]


def _check_form(arrays: dict[str, Array], channels: int, hyper_channels: int) -> None:
    """Raise ValueError or KeyError where layers are absent or do not fit one another."""
    before = knows_before(arrays)
    names = _LAYERS + _BEFORE if before else _LAYERS
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


def _build_layer(
    name: str, arrays: dict[str, Array], dtype: np.dtype[Any], product: Product
) -> _Layer:
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
    return _Layer(
        weight=(weight * unit).astype(dtype),
        bias=(bias * unit).astype(dtype),
        low=np.full(len(bias), low, dtype),
        high=np.full(len(bias), high, dtype),
        product=product,
    )


def _side_by_side(left: _Layer, right: _Layer) -> _Layer:
    """One layer with the outputs of both: one product is quicker than two narrow ones."""
    weight, bias, low, high = (
        np.concatenate([getattr(left, name), getattr(right, name)], axis=-1)
        for name in ("weight", "bias", "low", "high")
    )
    return _Layer(weight, bias, low, high, left.product)


def blocks(height: int, width: int) -> list[slice]:
    """Slices of rows that cover [height, width], small enough each to stay in the cache."""
    rows = max(1, _BLOCK // max(1, width))
    return [slice(top, top + rows) for top in range(0, height, rows)]


def _depth_to_space(x: Array) -> Array:
    """[h, w, 4C] -> [2h, 2w, C], as torch's pixel_shuffle."""
    height, width, channels = x.shape
    x = x.reshape(height, width, channels // 4, 2, 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, channels // 4)
