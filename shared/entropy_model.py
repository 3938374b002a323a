"""The entropy model: latents to bytes and back, the same on every machine.

Both ends run this file. What is needed to parse a stream is computed with integers only
(`shared.coding.integer_network`).

    payload --ANS--> hyper latent z [h/4, w/4, Cz]
                        |  integer network
                     mean, scale index of some of the latents --ANS--> their symbols
                        |  integer network, with all that is known       |
                        '-- the next four groups of channels of a  <-----'
                            quarter of the positions, four times
    latent = (16 symbol + mean) * step / 4096

One ANS stream (`shared.coding.ans`) holds it all. Where the reader has latents already (`Before`),
a payload may go on from them: with the latents of a mask alone, and without a hyper latent.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from shared.coding import intervals
from shared.coding.ans import open_coder
from shared.coding.hyper_analysis import HyperAnalysis
from shared.coding.integer_layers import (
    MEAN_UNIT,
    WEIGHT_LIMIT,
    Product,
)
from shared.coding.integer_network import Before, Here, IntegerNetwork, SymbolsOf, blocks
from shared.coding.intervals import signed_scales_of
from shared.coding.quantiser_steps import check_form, gains_of, with_steps
from shared.coding.symbol_coder import BIT_PRICE, Allowed, SymbolCoder, bits_of_one, dead_zones
from shared.errors import BundleCorrupt, DecoderMismatch

SYMBOL_LIMIT: Final = 30_000

Array = NDArray[Any]


@dataclass(frozen=True)
class Encoded:
    """One coded picture: its ANS bytes and the 16-bit check of its symbols.

    prices, bits: f32 [n] of each symbol other than zero. At that price of a bit it would be written
    one nearer to zero, in so many bits less. symbols: what `read` gives, where it was asked for.
    """

    payload: bytes
    check: int
    prices: Array = field(compare=False)
    bits: Array = field(compare=False)
    symbols: Symbols | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Symbols:
    """What a payload holds, in integers.

    hyper: i32 [h/4, w/4, Cz]. values: i32 [h, w, C]. means: i16 [h, w, C], in 1/16.
    signed_scales: u8 [h, w, C], of `intervals.signed_scales_of`. All are 0 where latents were not
    coded.
    """

    hyper: Array
    values: Array
    means: Array
    signed_scales: Array


class EntropyModel:
    """Codes latents [C, h, w] at quality codes [h, w] to bytes and back, exactly."""

    def __init__(
        self,
        arrays: dict[str, Array],
        dtype: DTypeLike = np.float32,
        product: Product = np.matmul,
    ) -> None:
        arrays = with_steps(arrays)
        self.latent_channels = arrays["steps"].shape[-1]
        self.hyper_channels = arrays["hyper_gains"].shape[-1]
        check_form(arrays, self.latent_channels, self.hyper_channels)
        self._network = IntegerNetwork(
            arrays, self.latent_channels, self.hyper_channels, dtype, product
        )
        self._coder = SymbolCoder(arrays["tables"], arrays["table_ends"])
        self._bits_of_one = bits_of_one(arrays["tables"], arrays["table_ends"])
        self._step_sizes = np.asarray(arrays["steps"], np.int64)  # [181, C]
        self._gains = gains_of(arrays)  # f32 [181, C]
        self._hyper_scales = np.asarray(arrays["hyper_scales"], np.uint8)  # [181, Cz]
        self._hyper_analysis = HyperAnalysis(arrays)

    @classmethod
    def load(
        cls, path: Path, dtype: DTypeLike = np.float32, product: Product = np.matmul
    ) -> EntropyModel:
        """Read `entropy.npz`. Raises BundleCorrupt when it is not a network of this form."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files}, dtype, product)
        except Exception as error:  # numpy and zipfile know a dozen ways to dislike a file
            raise BundleCorrupt(
                f"{path.name} is not an entropy network: {error}",
                hint="fetch or export the bundle again",
            ) from error

    @property
    def goes_on(self) -> bool:
        """Whether it can code onto what the reader has before."""
        return self._network.goes_on

    def encode(
        self,
        latent: Array,
        quality: Array,
        base_code: int,
        price: float = BIT_PRICE,
        before: Before | None = None,
        mask: Array | None = None,
        price_before: int = 0,
        keep: bool = False,
    ) -> Encoded:
        """Code a latent f32 [C, h, w] (8-bit units) at local quality codes i32 [h, w] (0..180).

        price: squared error, in squared quantiser steps, that a bit must save to be written.
        before: what the reader has already. mask: bool [h, w], the latents to be coded, where
        `before` has all others; `quality` counts in it alone. price_before: where `before` are
        these very latents, coarser, the price of a bit at which they were coded, in sixteenths of
        BIT_PRICE: each symbol is then among the few that they allow. keep: give `Encoded.symbols`.
        """
        zones = dead_zones(self._bits_of_one, price)
        latent = np.ascontiguousarray(np.moveaxis(latent, 0, -1))
        quality = _merged(quality, before, mask)
        known = None if before is None else before.hyper
        z = known
        if z is None:
            z = self._hyper_analysis(latent, self._gains, quality, base_code)
        values = np.zeros(latent.shape, np.int16)
        means = np.zeros(latent.shape, np.int16) if keep else None
        signed_scales = np.zeros(latent.shape, np.uint8) if keep else None
        passes: list[tuple[Array, Array, Allowed | None]] = []
        steps: list[tuple[Array, Array]] = []

        def quantise(here: Here, mean: Array, index: Array) -> Array:
            rows, columns, channels = here
            gains = self._gains[quality[rows, columns], channels]
            gained = latent[here] * gains
            symbols = _quantise(gained, mean, index, zones)
            allowed = self._allowed(before, quality, here, mean, index, price_before)
            if allowed is not None:
                low, count = allowed
                inside = np.clip(symbols, low, low + count - 1)
                symbols = np.where(count > 0, inside, symbols).astype(np.int16)
            values[here] = symbols
            if means is not None and signed_scales is not None:
                means[here], signed_scales[here] = mean, signed_scales_of(symbols, index)
            passes.append((symbols, index, allowed))
            steps.append(self._steps(gained, mean, index, symbols))
            return symbols

        self._walk(z, quality, quantise, before, mask)
        coder = open_coder()
        for symbols, index, allowed in reversed(passes):
            self._coder.push(coder, symbols, index, allowed)
        if known is None:
            self._coder.push(coder, z, np.broadcast_to(self._hyper_scales[base_code], z.shape))
        prices, bits = (np.concatenate(each) for each in zip(*steps, strict=True))
        kept = None
        if means is not None and signed_scales is not None:
            kept = Symbols(z, values.astype(np.int32), means, signed_scales)
        return Encoded(coder.payload(), _check(z, values, mask), prices, bits, kept)

    def _steps(
        self, gained: Array, mean: Array, index: Array, symbols: Array
    ) -> tuple[Array, Array]:
        """Prices and bits of `Encoded`, of one group of a pass."""
        some = np.flatnonzero(symbols)
        size = np.abs(symbols.ravel()[some]).astype(np.float32)
        distance = gained.ravel()[some] - mean.ravel()[some] * np.float32(1 / MEAN_UNIT)
        of_one = self._bits_of_one[index.ravel()[some]]
        # Under a Gaussian the step from n to n - 1 saves 2n - 1 times what that from 1 to 0 does.
        return 2 * (np.abs(distance) - size + 0.5) / of_one, of_one * (2 * size - 1)

    def significant(self, latent: Array, quality: Array) -> int:
        """How many values of a latent as for `encode` are half a step or more from zero."""
        rows = zip(np.moveaxis(latent, 0, -1), quality, strict=True)
        # Row by row, because the latent of a large picture is hundreds of megabytes.
        masks = (np.abs(row * self._gains[codes]) >= 0.5 for row, codes in rows)
        return sum(int(np.count_nonzero(mask)) for mask in masks)

    def squared_steps(self, change: Array, quality: Array) -> Array:
        """Squares f32 [h, w] of latents f32 [C, h, w], summed over channels, in quantiser steps."""
        steps = np.moveaxis(change, 0, -1) * self._gains[quality]
        squares: Array = np.einsum("hwc,hwc->hw", steps, steps)
        return squares

    def decode(self, payload: bytes, check: int, quality: Array, base_code: int) -> Array:
        """Latent f32 [C, h, w] (8-bit units) of a payload.

        Raises DecoderMismatch when the payload is not one that this network wrote for that
        picture size and quality.
        """
        symbols = self.read(payload, check, quality, base_code)
        return self._latent(_sixteenths(symbols), quality)

    def before(
        self,
        symbols: Symbols,
        quality: Array,
        onto: Before | None = None,
        mask: Array | None = None,
    ) -> Before:
        """What was read at quality codes [h, w], as that from which another payload goes on.

        onto, mask: what it was read onto, as `before` and `mask` of `read`.
        """
        if onto is None or mask is None:
            values = _sixteenths(symbols).astype(np.int64)
            values *= self._step_sizes[quality]
            return Before(values, quality, symbols.hyper, symbols.signed_scales)
        values = onto.values.copy()
        coded = MEAN_UNIT * symbols.values[mask].astype(np.int64) + symbols.means[mask]
        values[mask] = coded * self._step_sizes[quality[mask]]
        signed_scales = (
            np.zeros_like(symbols.signed_scales)
            if onto.signed_scales is None
            else onto.signed_scales.copy()
        )
        signed_scales[mask] = symbols.signed_scales[mask]
        return Before(values, _merged(quality, onto, mask), symbols.hyper, signed_scales)

    def latent(self, known: Before) -> Array:
        """Latent f32 [C, h, w] (8-bit units) of what was read: of a picture, that of `decode`."""
        return self._latent(known.values // self._step_sizes[known.codes], known.codes)

    def _latent(self, sixteenths: Array, quality: Array) -> Array:
        latent = sixteenths.astype(np.float32)
        latent *= np.float32(1 / MEAN_UNIT)
        latent /= self._gains[quality]
        return np.ascontiguousarray(np.moveaxis(latent, -1, 0))

    def read(
        self,
        payload: bytes,
        check: int,
        quality: Array,
        base_code: int,
        before: Before | None = None,
        mask: Array | None = None,
        price_before: int = 0,
    ) -> Symbols:
        """The integers of a payload. Raises DecoderMismatch as `decode` does.

        before, mask, price_before: those with which it was written, where it goes on.
        """
        height, width = quality.shape
        quality = _merged(quality, before, mask)
        try:
            coder = open_coder(payload)
        except ValueError as error:
            raise DecoderMismatch(f"the latents are not an ANS stream: {error}") from error
        if before is not None and before.hyper is not None:
            z = before.hyper
        else:
            z_shape = (-(-height // 4), -(-width // 4), self.hyper_channels)
            z = self._coder.pop(coder, np.broadcast_to(self._hyper_scales[base_code], z_shape))
            z = np.clip(z, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        values = np.zeros((height, width, self.latent_channels), np.int32)
        means, signed_scales = np.zeros(values.shape, np.int16), np.zeros(values.shape, np.uint8)

        def read(here: Here, mean: Array, index: Array) -> Array:
            allowed = self._allowed(before, quality, here, mean, index, price_before)
            means[here] = mean
            values[here] = symbols = self._coder.pop(coder, index, allowed)
            signed_scales[here] = signed_scales_of(symbols, index)
            return symbols

        self._walk(z, quality, read, before, mask)
        if not coder.is_empty() or _check(z, values, mask) != check:
            raise DecoderMismatch(
                "the decoded symbols do not match the stream's check",
                hint="encode again with the bundle that the stream names",
            )
        return Symbols(z, values, means, signed_scales)

    def _allowed(
        self,
        before: Before | None,
        quality: Array,
        here: Here,
        mean: Array,
        index: Array,
        price_before: int,
    ) -> Allowed | None:
        """What `before` leaves of the symbols of a group of a pass, where it tells of them."""
        if before is None or before.signed_scales is None or not price_before:
            return None
        rows, columns, channels = here
        low, count = np.empty(mean.shape, np.int32), np.empty(mean.shape, np.int32)
        signed_scales, values = before.signed_scales[here], before.values[here]
        codes = before.codes[rows, columns], quality[rows, columns]
        for part in blocks(*mean.shape[:2]):
            known, own = (self._step_sizes[each[part], channels] for each in codes)
            low[part], count[part] = intervals.allowed(
                signed_scales[part], values[part], known, own, mean[part], index[part], price_before
            )
        return low, count

    def _walk(
        self,
        z: Array,
        quality: Array,
        symbols_of: SymbolsOf,
        before: Before | None,
        mask: Array | None,
    ) -> None:
        features = self._network.features(z, quality, mask)
        self._network.walk(features, quality, symbols_of, before, self._step_sizes, mask)


def _quantise(gained: Array, mean: Array, index: Array, zones: Array) -> Array:
    """Symbols i16 of gained latents [r, c, G], drawn to zero by dead zones [64] of the scales.

    They are 0 where the scale index is 0.
    """
    symbols = np.empty(mean.shape, np.int16)
    for part in blocks(*mean.shape[:2]):
        distance = mean[part].astype(np.float32)
        distance *= np.float32(-1 / MEAN_UNIT)
        distance += gained[part]
        zone = zones[index[part]]
        distance -= np.clip(distance, -zone, zone)
        distance += np.float32(0.5)
        np.floor(distance, out=distance)
        symbols[part] = np.clip(distance, -SYMBOL_LIMIT, SYMBOL_LIMIT, out=distance)
        symbols[part] *= index[part] != 0
    return symbols


def _sixteenths(symbols: Symbols) -> Array:
    """Latents i32 [h, w, C] in sixteenths of their quantiser steps."""
    latent: Array = MEAN_UNIT * symbols.values
    latent += symbols.means
    return latent


def _merged(quality: Array, before: Before | None, mask: Array | None) -> Array:
    """Quality codes i32 [h, w]: own ones in the mask, elsewhere those of what is there before.

    Raises ValueError where neither says what a latent is.
    """
    if mask is None:
        return quality
    if before is None or (before.codes[~mask] < 0).any():
        raise ValueError("latents outside of the mask are not there before")
    return np.where(mask, quality, before.codes)


def _check(z: Array, values: Array, mask: Array | None) -> int:
    """16 bits of the CRC-32 over all coded symbols as little-endian 16-bit integers."""
    crc = zlib.crc32(z.astype("<i2").data)
    coded = values if mask is None else values[mask]
    return zlib.crc32(coded.astype("<i2", copy=False).data, crc) & 0xFFFF
