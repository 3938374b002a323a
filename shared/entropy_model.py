"""The entropy model: exact integer arithmetic from bytes to latents, the same on every machine.

Both ends run this file. What is needed to parse a stream (means and scale indices) is computed
with integers only, held in float32: a product of 8-bit values summed over at most 512 inputs stays
below 2**24, where float32 is exact whatever the order of summation. `load` checks that bound for
every output channel of the network it reads. Nothing learned is trusted beyond its numbers.

    payload --ANS--> hyper latent z [h/4, w/4, Cz]
                        |  integer network
                     mean, scale index of the anchors --ANS--> anchors      (row + column even)
                        |  integer network, with the four neighbouring anchors
                     mean, scale index of the rest    --ANS--> the rest
    latent = (symbol + mean / 16) / gain

Arrays are channels-last, so that each layer is one matrix product. The network is drawn in
`shared.nets.entropy`, its trainable twin. One ANS stream (constriction) holds it all; symbols are
grouped by scale index, so that each call codes thousands of them under one table.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import constriction
import numpy as np
from numpy.typing import DTypeLike, NDArray

from shared.ans import pack_words, unpack_words
from shared.errors import BundleCorrupt, DecoderMismatch

KNOTS = 10
CODES = 181  # quality codes 0..180
ACTIVATION_MAX = 255
WEIGHT_LIMIT = 127
CONTEXT_LIMIT = 127  # half latent units
MEAN_UNIT = 16
MEAN_LIMIT = 2047
SCALES = 64
LOG_SCALE_MIN = math.log(0.08)
LOG_SCALE_STEP = math.log(80.0 / 0.08) / (SCALES - 1)
EXACT = 1 << 24
SYMBOL_LIMIT = 30_000
ESCAPE_BITS = 16

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


@dataclass(frozen=True)
class Encoded:
    """One coded picture: ANS bytes, 16-bit check of its symbols, estimated bits by part."""

    payload: bytes
    check: int


@dataclass(frozen=True)
class _Layer:
    """out = clip(floor((x @ weight + bias) * 2 ** -shift), low, high), all in integers."""

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs], holds the half that turns floor into rounding
    unit: Array  # [outputs], 2 ** -shift
    low: int
    high: int

    def __call__(self, x: Array) -> Array:
        out = x @ self.weight
        out += self.bias
        out *= self.unit
        np.floor(out, out=out)
        return np.clip(out, self.low, self.high, out=out)


class EntropyModel:
    """Codes latents [C, h, w] at quality codes [h, w] to bytes and back, exactly."""

    def __init__(self, arrays: dict[str, Array], dtype: DTypeLike = np.float32) -> None:
        _check_form(arrays)
        self._dtype = np.dtype(dtype)
        self._layers = {name: _build_layer(name, arrays, self._dtype) for name in _LAYERS}
        self._gains = np.asarray(arrays["gains"], np.float32)  # [181, C]
        self._hyper_gains = np.asarray(arrays["hyper_gains"], np.float32)  # [181, Cz]
        self._hyper_scales = np.asarray(arrays["hyper_scales"], np.uint8)  # [181, Cz]
        self._hyper_analysis = [
            (
                np.asarray(arrays[f"hyper_analysis{i}.weight"], np.float32),
                np.asarray(arrays[f"hyper_analysis{i}.bias"], np.float32),
            )
            for i in range(3)
        ]
        self._tables = np.asarray(arrays["tables"], np.int64)
        self._table_ends = np.asarray(arrays["table_ends"], np.int64)
        self._models: dict[int, tuple[Any, int]] = {}
        self._escape = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
        self.latent_channels = self._gains.shape[1]
        self.hyper_channels = self._hyper_gains.shape[1]

    @classmethod
    def load(cls, path: Path, dtype: DTypeLike = np.float32) -> EntropyModel:
        """Read `entropy.npz`. Raises BundleCorrupt when it is not a network of this form."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files}, dtype)
        except Exception as error:  # numpy and zipfile know a dozen ways to dislike a file
            raise BundleCorrupt(
                f"{path.name} is not an entropy network: {error}",
                hint="fetch or export the bundle again",
            ) from error

    # -- the two ends ---------------------------------------------------------------------------

    def encode(self, latent: Array, quality: Array, base_code: int) -> Encoded:
        """Code a latent f32 [C, h, w] (8-bit units) at local quality codes i32 [h, w] (0..180)."""
        gained = np.moveaxis(latent, 0, -1) * self._gains[quality]
        z = self._analyse_hyper(gained, base_code)
        features = self._features(z, quality)
        anchors = _anchors(*quality.shape)
        symbols = np.zeros(gained.shape, np.int32)
        passes: list[tuple[Array, Array]] = []
        mean, index = self._anchor_parameters(features[anchors])
        symbols[anchors] = _quantise(gained[anchors], mean, index)
        passes.append((symbols[anchors], index))
        context = self._context(symbols[anchors], mean, anchors)
        mean, index = self._other_parameters(features[~anchors], context)
        symbols[~anchors] = _quantise(gained[~anchors], mean, index)
        passes.append((symbols[~anchors], index))

        coder = constriction.stream.stack.AnsCoder()
        for values, scale in reversed(passes):
            self._push(coder, values, scale)
        self._push(coder, z, np.broadcast_to(self._hyper_scales[base_code], z.shape))
        return Encoded(pack_words(coder.get_compressed()), _check(z, symbols))

    def decode(self, payload: bytes, check: int, quality: Array, base_code: int) -> Array:
        """Latent f32 [C, h, w] (8-bit units) of a payload.

        Raises DecoderMismatch when the payload is not one that this network wrote for that
        picture size and quality.
        """
        height, width = quality.shape
        try:
            words = unpack_words(payload)
            coder = (
                constriction.stream.stack.AnsCoder(words)
                if len(words)
                else constriction.stream.stack.AnsCoder()
            )
        except ValueError as error:
            raise DecoderMismatch(f"the latents are not an ANS stream: {error}") from error
        z_shape = (-(-height // 4), -(-width // 4), self.hyper_channels)
        z = self._pop(coder, np.broadcast_to(self._hyper_scales[base_code], z_shape))
        z = np.clip(z, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        features = self._features(z, quality)
        anchors = _anchors(height, width)
        symbols = np.zeros((height, width, self.latent_channels), np.int32)
        means = np.zeros(symbols.shape, np.float32)
        mean, index = self._anchor_parameters(features[anchors])
        symbols[anchors], means[anchors] = self._pop(coder, index), mean
        context = self._context(symbols[anchors], mean, anchors)
        mean, index = self._other_parameters(features[~anchors], context)
        symbols[~anchors], means[~anchors] = self._pop(coder, index), mean
        if not coder.is_empty() or _check(z, symbols) != check:
            raise DecoderMismatch(
                "the decoded symbols do not match the stream's check",
                hint="encode again with the bundle that the stream names",
            )
        means *= np.float32(1 / MEAN_UNIT)
        means += symbols
        means /= self._gains[quality]
        return np.ascontiguousarray(np.moveaxis(means, -1, 0))

    # -- the network ----------------------------------------------------------------------------

    def _analyse_hyper(self, gained: Array, base_code: int) -> Array:
        """Integer hyper latent i32 [h/4, w/4, Cz] of a gained latent [h, w, C]."""
        height, width = gained.shape[:2]
        x = np.pad(gained, ((0, -height % 4), (0, -width % 4), (0, 0)))
        for i, (weight, bias) in enumerate(self._hyper_analysis):
            x = (_space_to_depth(x) if i else x) @ weight + bias
            if i < 2:
                np.maximum(x, 0, out=x)
        z: Array = np.floor(x * self._hyper_gains[base_code] + 0.5)
        z = np.where(self._hyper_scales[base_code] == 0, 0, z)
        return z.clip(-WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int32)

    def _features(self, z: Array, quality: Array) -> Array:
        """Shared features [h, w, F] of an integer hyper latent and local quality codes."""
        height, width = quality.shape
        rows, columns = z.shape[:2]
        padded = np.pad(z.astype(self._dtype), ((1, 1), (1, 1), (0, 0)))
        taps = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
        x = self._layers["hyper1"](np.concatenate(taps, axis=-1))
        x = _depth_to_space(self._layers["hyper2"](x))
        x = _depth_to_space(self._layers["hyper3"](x))[:height, :width]
        knots = 20 * np.arange(KNOTS)
        tent = 12 * np.maximum(0, 20 - np.abs(quality[..., None] - knots))
        return self._layers["mix"](np.concatenate([x, tent.astype(self._dtype)], axis=-1))

    def _anchor_parameters(self, features: Array) -> tuple[Array, Array]:
        """Mean (1/16 units) and scale index of the anchors [N, C]."""
        x = self._layers["anchor1"](features)
        return self._layers["anchor_mean"](x), self._layers["anchor_scale"](x).astype(np.uint8)

    def _context(self, symbols: Array, mean: Array, anchors: Array) -> Array:
        """What the rest sees of its four neighbouring anchors: [M, 4 * 64]."""
        sixteenths = symbols * MEAN_UNIT + mean.astype(np.int32)
        near = np.clip((sixteenths + MEAN_UNIT // 4) >> 3, -CONTEXT_LIMIT, CONTEXT_LIMIT)
        values = self._layers["context"](near.astype(self._dtype))
        height, width = anchors.shape
        grid = np.zeros((height + 2, width + 2, values.shape[-1]), self._dtype)
        grid[1:-1, 1:-1][anchors] = values
        up, down = grid[:-2, 1:-1], grid[2:, 1:-1]
        left, right = grid[1:-1, :-2], grid[1:-1, 2:]
        return np.concatenate([side[~anchors] for side in (up, down, left, right)], axis=-1)

    def _other_parameters(self, features: Array, context: Array) -> tuple[Array, Array]:
        """Mean (1/16 units) and scale index of what is not an anchor [M, C]."""
        x = self._layers["other1"](np.concatenate([features, context], axis=-1))
        return self._layers["other_mean"](x), self._layers["other_scale"](x).astype(np.uint8)

    # -- the coder ------------------------------------------------------------------------------

    def _model(self, index: int) -> tuple[Any, int]:
        """Table of a scale index and its largest coded magnitude; the last symbol is the escape."""
        if index not in self._models:
            start = self._table_ends[index - 1] if index else 0
            counts = self._tables[start : self._table_ends[index]]
            model = constriction.stream.model.Categorical(counts / EXACT, perfect=False)
            self._models[index] = (model, (len(counts) - 2) // 2)
        return self._models[index]

    def _push(self, coder: Any, symbols: Array, index: Array) -> None:
        """Code symbols so that `_pop` with the same indices reads them; index 0 is not coded."""
        symbols, index = symbols.ravel(), index.ravel()
        order, groups = _groups(index)
        escapes = []
        coded = []
        for scale, start, stop in groups:
            model, limit = self._model(scale)
            values = symbols[order[start:stop]]
            outside = np.abs(values) > limit
            escapes.append(_fold(values[outside], limit))
            coded.append((np.where(outside, 2 * limit + 1, values + limit).astype(np.int32), model))
        for excess in reversed(escapes):
            if len(excess):
                coder.encode_reverse(excess.astype(np.int32), self._escape)
        for values, model in reversed(coded):
            coder.encode_reverse(values, model)

    def _pop(self, coder: Any, index: Array) -> Array:
        """Symbols i32 of the shape of `index`."""
        symbols = np.zeros(index.size, np.int32)
        order, groups = _groups(index.ravel())
        outside = []
        for scale, start, stop in groups:
            model, limit = self._model(scale)
            values = coder.decode(model, stop - start) - limit
            symbols[order[start:stop]] = values
            outside.append((order[start:stop][values == limit + 1], limit))
        for places, limit in outside:
            if len(places):
                excess = coder.decode(self._escape, len(places))
                symbols[places] = _unfold(excess, limit)
        return symbols.reshape(index.shape)


def scale_tables() -> tuple[Array, Array]:
    """Integer tables of the 64 scales: counts i32 (each table sums to 2**24) and their ends.

    Table i holds the masses of round(N(0, scale_i)) at -R..R with R = ceil(6 scale) + 1, then the
    mass of the escape. Every count is at least 1.
    """
    tables, ends, end = [], [], 0
    for i in range(SCALES):
        scale = math.exp(LOG_SCALE_MIN + LOG_SCALE_STEP * i)
        limit = math.ceil(6 * scale) + 1
        edges = np.arange(-limit, limit + 2) - 0.5
        cumulative = np.array([0.5 * (1 + math.erf(e / (scale * math.sqrt(2)))) for e in edges])
        counts = np.maximum(1, np.round(np.diff(cumulative) * EXACT)).astype(np.int64)
        counts = np.append(counts, 1)
        counts[limit] += EXACT - counts.sum()
        tables.append(counts)
        end += len(counts)
        ends.append(end)
    return np.concatenate(tables).astype(np.int32), np.array(ends, np.int32)


def _check_form(arrays: dict[str, Array]) -> None:
    """Raise ValueError or KeyError where arrays are absent or do not fit one another."""
    sides = {name: arrays[f"{name}.weight"].shape for name in _LAYERS}
    if any(len(s) != 2 or arrays[f"{n}.weight"].dtype.kind != "i" for n, s in sides.items()):
        raise ValueError("a layer's weight is a matrix of integers")
    inputs, outputs = ({name: side[i] for name, side in sides.items()} for i in (0, 1))
    channels, hyper = arrays["gains"].shape[-1], arrays["hyper_gains"].shape[-1]
    wanted = {
        "hyper1": 9 * hyper,
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
    for name, width in (("gains", channels), ("hyper_gains", hyper), ("hyper_scales", hyper)):
        if arrays[name].shape != (CODES, width):
            raise ValueError(f"{name} is not {CODES} codes by {width} channels")
    counts, ends = arrays["tables"], arrays["table_ends"].tolist()
    if len(ends) != SCALES or ends[-1] != len(counts) or (np.diff(ends, prepend=0) < 4).any():
        raise ValueError(f"there are not {SCALES} tables")
    if counts.min() < 1 or any((t.sum() != EXACT) for t in np.split(counts, ends[:-1])):
        raise ValueError(f"a table does not sum to {EXACT}")


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
    return _Layer(weight.astype(dtype), bias.astype(dtype), unit.astype(dtype), low, high)


def _anchors(height: int, width: int) -> Array:
    return np.asarray((np.arange(height)[:, None] + np.arange(width)) % 2 == 0)


def _quantise(gained: Array, mean: Array, index: Array) -> Array:
    """Symbols of gained latents [N, C]; where the scale index is 0 nothing is coded."""
    symbols = np.floor(gained - mean.astype(np.float32) / MEAN_UNIT + np.float32(0.5))
    symbols = np.clip(symbols, -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32)
    return np.where(index == 0, 0, symbols)


def _groups(index: Array) -> tuple[Array, list[tuple[int, int, int]]]:
    """Stable order of positions by scale index, and (index, start, stop) of each group but 0."""
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index, minlength=SCALES))
    return order, [
        (i, int(ends[i - 1]), int(ends[i])) for i in range(1, SCALES) if ends[i] > ends[i - 1]
    ]


def _fold(values: Array, limit: int) -> Array:
    """Escaped symbols as 0, 1, 2, ...: the excess over the table, sign in the lowest bit."""
    return (np.abs(values) - limit - 1) * 2 + (values < 0)


def _unfold(excess: Array, limit: int) -> Array:
    magnitude = (excess >> 1) + limit + 1
    return np.where(excess & 1, -magnitude, magnitude)


def _check(z: Array, symbols: Array) -> int:
    """16 bits of the CRC-32 over all symbols as little-endian 16-bit integers."""
    crc = zlib.crc32(z.astype("<i2").tobytes())
    return zlib.crc32(symbols.astype("<i2").tobytes(), crc) & 0xFFFF


def _space_to_depth(x: Array) -> Array:
    """[2h, 2w, C] -> [h, w, 4C], channel-major as torch's pixel_unshuffle."""
    height, width, channels = x.shape
    x = x.reshape(height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 2, 4, 1, 3).reshape(height // 2, width // 2, 4 * channels)


def _depth_to_space(x: Array) -> Array:
    """[h, w, 4C] -> [2h, 2w, C], as torch's pixel_shuffle."""
    height, width, channels = x.shape
    x = x.reshape(height, width, channels // 4, 2, 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, channels // 4)
