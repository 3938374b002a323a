"""The integer network: what both ends compute alike, to the last bit, on every machine.

Means and scale indices of the latents come from integers only, held in float32: a product of 8-bit
values summed over a few hundred inputs stays below 2**24, where float32 is exact whatever the order
of summation. `shared.coding.integer_layers` checks that bound for every channel.

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

There the walk may go over some of the latents alone: the others stay as they are, and are what
their neighbours see. What is computed then grows with the latents that are walked over.

    0 2    The passes in each square of two by two latents: the first is read without neighbours,
    3 1    the next two with four of them, the last with all eight.

Arrays are channels-last, so that each layer is one matrix product. The trainable twin of this
network is drawn in `shared.nets.entropy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from shared.coding.integer_layers import (
    ACTIVATION_MAX,
    BEFORE_LAYERS,
    BEFORE_LIMIT,
    CODES,
    CONTEXT_LIMIT,
    GROUPS,
    KNOTS,
    LAST_CODE,
    LAYERS,
    MEAN_UNIT,
    NEARNESS,
    PASSES,
    RATIOS,
    SYMBOL_SEEN,
    WEIGHT_LIMIT,
    Product,
    build_layer,
    check_form,
    knows_before,
    side_by_side,
)

Array = NDArray[Any]
Places = slice | Array
"""Rows or columns of latents: every second one, or one number i64 [n, 1] for each of n latents."""
Here = tuple[Places, Places, slice]
SymbolsOf = Callable[[Here, Array, Array], Array]
_BLOCK = 512  # latents at a time: what lies between two layers stays in the cache
_TENT = 12 * np.maximum(0, 20 - np.abs(np.arange(CODES)[:, None] - 20 * np.arange(KNOTS)))


@dataclass(frozen=True)
class Before:
    """Latents that the reader has before it reads: a base that is continued, the frame before.

    values: i64 [h, w, C], in 4096ths of an 8-bit unit: sixteenths of the steps that they were coded
    in. codes: i32 [h, w], the quality codes of these; -1 where nothing is there. hyper: their
    hyper latent i32 [h/4, w/4, Cz] where it stands for the own one, which is not coded then.
    signed_scales: u8 [h, w, C], of `intervals.signed_scales_of`, where they were coded and nothing
    was done to them.
    """

    values: Array
    codes: Array
    hyper: Array | None = None
    signed_scales: Array | None = None


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
        check_form(arrays, channels, hyper_channels)
        self._dtype = np.dtype(dtype)
        names = LAYERS + BEFORE_LAYERS if knows_before(arrays) else LAYERS
        self._layers = {name: build_layer(name, arrays, self._dtype, product) for name in names}
        self._both = {
            (k, g): side_by_side(self._layers[f"mean.{k}.{g}"], self._layers[f"scale.{k}.{g}"])
            for k in range(len(PASSES))
            for g in range(GROUPS)
        }
        self._channels = channels
        self._groups = _groups(arrays)
        self._context_width = len(self._layers["context"].bias)

    @property
    def goes_on(self) -> bool:
        """Whether it was made to go on from latents that are there before."""
        return "before1" in self._layers

    def features(self, z: Array, quality: Array, mask: Array | None = None) -> Array:
        """Shared features u8 [h, w, F] of an integer hyper latent and quality codes [h, w].

        mask: bool [h, w], the latents whose features are asked for; those of others are 0.
        """
        height, width = quality.shape
        rows, columns = z.shape[:2]
        down, across = slice(0, rows), slice(0, columns)
        if mask is not None:
            down, across = (_span(mask.any(axis)) for axis in (1, 0))
        padded = np.pad(z.astype(self._dtype), ((1, 1), (1, 1), (0, 0)))
        taps = [
            padded[r + down.start : r + down.stop, c + across.start : c + across.stop]
            for r in range(3)
            for c in range(3)
        ]
        x = self._layers["hyper1"](np.concatenate(taps, axis=-1))
        x = _depth_to_space(self._layers["hyper2"](x))
        # What lies between layers is 0..255: as bytes, it is small where the picture is large.
        x = _depth_to_space(self._layers["hyper3"](x).astype(np.uint8))
        around = np.zeros((4 * rows, 4 * columns, x.shape[-1]), np.uint8)
        around[4 * down.start : 4 * down.stop, 4 * across.start : 4 * across.stop] = x
        mix, tent = self._layers["mix"], _TENT.astype(self._dtype)
        features = np.zeros((height, width, len(mix.bias)), np.uint8)
        for part in _parts(height, width, mask):
            here = around[:height, :width][part]
            features[part] = mix(np.concatenate([here, tent[quality[part]]], axis=-1))
        return features

    def walk(
        self,
        features: Array,
        quality: Array,
        symbols_of: SymbolsOf,
        before: Before | None = None,
        steps: Array | None = None,
        mask: Array | None = None,
    ) -> None:
        """Ask for the symbols of each group of each pass, with what those before it told.

        features: u8 [h, w, F]. quality: i32 [h, w]. symbols_of(here, mean, index) is given where
        the group's latents are among [h, w, C], their means i16 [r, c, G] (1/16 units) and scale
        indices u8 [r, c, G], and gives their symbols [r, c, G]. steps: i64 [181, C], quantiser
        steps by quality code, with `before`. Raises ValueError for that where the network was not
        made for it.

        mask: bool [h, w], the latents that are asked for, where `before` holds the others; quality
        is of these what they were coded at.
        """
        height, width = quality.shape
        # With one more row and column on each side every latent has all its neighbours.
        grid = np.zeros((height + 2, width + 2, self._context_width), np.uint8)
        seen = None
        if before is not None:
            near = None if mask is None else _with_neighbours(mask)
            seen = self._see(before, quality, steps, mask, near)
            if mask is not None and near is not None:
                # Latents that stay, where they are neighbours: they are known from the start.
                kept = np.nonzero(near & ~mask)
                grid[1:-1, 1:-1][kept] = self._context(seen.sixteenths[kept][None])[0]
        codes = np.pad(quality, 1, mode="edge")
        for k, (place, ways) in enumerate(PASSES):
            rows, columns = _of_pass(place, mask)
            around = [
                (_shifted(rows, 1 + y, height), _shifted(columns, 1 + x, width)) for y, x in ways
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
                in_grid = _shifted(rows, 1, height), _shifted(columns, 1, width)
                grid[in_grid] = self._context(latents)

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

    def _see(
        self,
        before: Before,
        quality: Array,
        steps: Array | None,
        mask: Array | None,
        near: Array | None,
    ) -> _Seen:
        """What all passes see of latents that were there before: of `mask`, which `near` has the
        neighbours of; of all where these are None."""
        if not self.goes_on or steps is None:
            raise ValueError("this network was not made to go on from other latents")
        height, width = quality.shape
        whole = np.broadcast_to(True, quality.shape)
        there = before.codes >= 0
        first, second = self._layers["before1"], self._layers["before2"]
        sixteenths = np.zeros(before.values.shape, np.int32)
        padded = np.zeros((height + 2, width + 2, len(first.bias)), np.uint8)
        for part in _parts(height, width, whole if near is None else near):
            here, codes = there[part], before.codes[part]
            own = steps[quality[part]]
            own_sixteenths = (2 * before.values[part] + own) // (2 * own)
            np.clip(own_sixteenths, -BEFORE_LIMIT, BEFORE_LIMIT, out=own_sixteenths)
            own_sixteenths *= here[..., None]
            ratios = RATIOS[LAST_CODE + np.where(here, codes - quality[part], 0)] * here
            nearness = np.minimum((ratios * NEARNESS + 128) >> 8, WEIGHT_LIMIT)
            halves = _halves(own_sixteenths)
            x = np.concatenate([halves, np.abs(halves), nearness[..., None]], -1, dtype=self._dtype)
            rows, columns = part
            padded[rows + 1, columns + 1] = first(x)
            sixteenths[part] = own_sixteenths
        features = np.zeros((height, width, len(second.bias)), np.uint8)
        for rows, columns in _parts(height, width, whole if mask is None else mask):
            taps = [padded[rows + r, columns + c] for r in range(3) for c in range(3)]
            features[rows, columns] = second(np.concatenate(taps, -1, dtype=self._dtype))
        return _Seen(sixteenths, there, features)

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

    def _context(self, latents: Array) -> Array:
        """What later passes see of latents [r, c, C] in sixteenths: u8 [r, c, K]."""
        context = self._layers["context"]
        features = np.empty((*latents.shape[:2], self._context_width), np.uint8)
        for part in blocks(*latents.shape[:2]):
            features[part] = context(_halves(latents[part]).astype(self._dtype))
        return features


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


def blocks(height: int, width: int) -> list[slice]:
    """Slices of rows that cover [height, width], small enough each to stay in the cache."""
    rows = max(1, _BLOCK // max(1, width))
    return [slice(top, top + rows) for top in range(0, height, rows)]


def _parts(height: int, width: int, mask: Array | None) -> list[Any]:
    """Where the latents of [height, width] are, those of a mask alone, so many at a time."""
    if mask is None:
        return [(part, slice(None)) for part in blocks(height, width)]
    rows, columns = np.nonzero(mask)
    starts = range(0, len(rows), _BLOCK)
    return [(rows[i : i + _BLOCK], columns[i : i + _BLOCK]) for i in starts]


def _of_pass(place: tuple[int, int], mask: Array | None) -> tuple[Places, Places]:
    """Rows and columns of the latents of a pass, those of a mask alone."""
    row, column = place
    if mask is None:
        return slice(row, None, 2), slice(column, None, 2)
    rows, columns = np.nonzero(mask[row::2, column::2])
    return 2 * rows[:, None] + row, 2 * columns[:, None] + column


def _shifted(places: Places, by: int, side: int) -> Places:
    """Rows or columns of a side of that many latents, so many further on."""
    if isinstance(places, slice):
        return slice(places.start + by, side + by, 2)
    return places + by


def _with_neighbours(mask: Array) -> Array:
    """A mask [h, w] and all that are next to it, diagonally as well."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    taps = [padded[r : r + height, c : c + width] for r in range(3) for c in range(3)]
    around: Array = np.logical_or.reduce(taps)
    return around


def _span(lines: Array) -> slice:
    """The rows or columns of hyper latents that belong to those of latents, bool [h]."""
    (chosen,) = np.nonzero(lines)
    return slice(chosen[0] // 4, chosen[-1] // 4 + 1) if len(chosen) else slice(0, 0)


def _depth_to_space(x: Array) -> Array:
    """[h, w, 4C] -> [2h, 2w, C], as torch's pixel_shuffle."""
    height, width, channels = x.shape
    x = x.reshape(height, width, channels // 4, 2, 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, channels // 4)
