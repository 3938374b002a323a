"""A second decoder, written from docs/bitstream.md alone.

It computes in Python's own integers, and shares nothing with `shared`.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
TEXT = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text(encoding="utf-8")


def after(mark: str) -> Iterator[str]:
    """The lines that follow a mark, up to the first empty one."""
    for line in TEXT.split(mark, 1)[1].splitlines()[1:]:
        if not line:
            return
        yield line


def table(mark: str) -> list[list[str]]:
    """Cells of the Markdown table that follows a mark, without its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in after(mark)]
    return rows[2:]


def example() -> bytes:
    lines = [line for line in after("<!-- stream -->") if not line.startswith("```")]
    return bytes.fromhex("".join(re.split(r"\s{2,}", line)[0] for line in lines))


class Reader:
    """Section 2: the entropy coders, with words of `width` bits."""

    def __init__(self, payload: bytes, width: int = 32) -> None:
        size = width // 8
        payload += b"\0" * (-len(payload) % size)
        self.words = [
            int.from_bytes(payload[i : i + size], "little") for i in range(0, len(payload), size)
        ]
        self.width = width
        self.state = 0
        self.refill()

    def refill(self) -> None:
        while self.words and self.state < 1 << self.width:
            self.state = self.state << self.width | self.words.pop()

    def symbol(self, bounds: Sequence[int]) -> int:
        r = self.state % (1 << 24)
        k = bisect_right(bounds, r) - 1
        self.state = (self.state >> 24) * (bounds[k + 1] - bounds[k]) + r - bounds[k]
        self.refill()
        return k

    def decision(self, c: int) -> bool:
        t = self.state * c
        bit = t % 256 >= 256 - c
        self.state = t >> 8 if bit else self.state - (t >> 8)
        self.refill()
        return bit

    @property
    def is_empty(self) -> bool:
        return self.state == 0 and not self.words


def bounds_of(counts: Sequence[int]) -> list[int]:
    free, total, before = (1 << 24) - len(counts), sum(counts), 0
    bounds = []
    for k, count in enumerate(counts):
        bounds.append(before * free // total + k)
        before += count
    return [*bounds, 1 << 24]


def read_levels(
    payload: bytes, width: int, height: int
) -> tuple[int, list[tuple[int, int, int, str, int]]]:
    """Section 3: the form; (pass, row, column, context, level) of the cells as they are read."""
    reader = Reader(payload, 8)
    form = sum((0x60 >> bit & 1 ^ 1 ^ reader.decision(252)) << bit for bit in range(8))
    cell, count = (16, 32, 64)[form & 3], (2, 3, 5)[form >> 2 & 3]
    rows, columns = -(-height // cell), -(-width // cell)
    steps = {2: (-1, 1), 3: (-1, 0, 1), 5: (-2, -1, 0, 1, 2)}[count]
    tables = {
        row[0]: [int(chance) for chance in row[1:]]
        for row in table(f"<!-- tables: {count} levels -->")
    }
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    passes = [(1, "alone", 0, [(r, c) for r, c in cells if r % 16 == 0 and c % 16 == 0])]
    for number, d in ((2, 8), (4, 4), (6, 2), (8, 1)):
        on = [(r, c) for r, c in cells if r % d == 0 and c % d == 0]
        odd = {place: sum(n // d % 2 for n in place) for place in on}
        passes.append((number, "diagonal", d, [place for place in on if odd[place] == 2]))
        passes.append((number + 1, "straight", d, [place for place in on if odd[place] == 1]))
    ways = {
        "alone": [],
        "diagonal": [(-1, -1), (-1, 1), (1, -1), (1, 1)],
        "straight": [(-1, 0), (1, 0), (0, -1), (0, 1)],
    }
    level_at, read = {}, []
    for number, where, d, places in passes:
        for r, c in places:
            around = [(r + d * y, c + d * x) for y, x in ways[where]]
            near = [level_at[place] for place in around if place in level_at]
            m = len(near)
            low, high = sum(steps[n] < 0 for n in near), sum(steps[n] > 0 for n in near)
            if where == "alone" or (count > 2 and not m):
                context = "alone"
            elif count == 2:
                context = f"{where} {min(d, 4)} {high}"
            else:
                context = f"{where} {4 * low // m} {4 * high // m}"
            level_at[r, c] = sum(1 for _ in itertools.takewhile(reader.decision, tables[context]))
            read.append((number, r, c, context, level_at[r, c]))
    assert reader.is_empty
    return form, read


class Known(NamedTuple):
    """Section 4.6: the hyper latent, values in 4096ths, their codes, and which are coded now.

    4.7: scale indices and symbols of the last layer that coded each, and the price.
    """

    z: np.ndarray
    values: np.ndarray
    codes: np.ndarray
    mask: np.ndarray
    scales: np.ndarray
    symbols: np.ndarray
    price: int


def halves(u: np.ndarray) -> np.ndarray:
    return np.clip((u + 4) >> 3, -127, 127)


def around(x: np.ndarray) -> np.ndarray:
    """The 3x3 neighbourhood, zero outside: rows, columns, channels."""
    h, w = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return np.concatenate([padded[r : r + h, c : c + w] for r in range(3) for c in range(3)], -1)


class Scaled(NamedTuple):
    """What the network says of a group of a pass."""

    scale: np.ndarray
    mean: np.ndarray


class Network:
    """Section 4: the latents, in 64-bit integers."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = {k: v.astype(np.int64) for k, v in arrays.items() if v.dtype.kind in "iu"}
        if "steps" not in arrays:
            steps = np.round(256 / arrays["gains"].astype(np.float64))
            self.arrays["steps"] = steps.astype(np.int64)
        starts = [0, *self.arrays["table_ends"].tolist()]
        counts = self.arrays["tables"].tolist()
        self.counts = [counts[a:b] for a, b in itertools.pairwise(starts)]
        self.tables = [bounds_of(each) for each in self.counts]
        self.zones = {int(i): int(z) for i, z in table("<!-- zones -->") if i.isdigit()}
        self.uniform = [k << 8 for k in range((1 << 16) + 1)]
        ways = {
            **{"above": (-1, 0), "below": (1, 0), "left": (0, -1), "right": (0, 1)},
            **{"above left": (-1, -1), "above right": (-1, 1)},
            **{"below left": (1, -1), "below right": (1, 1)},
        }
        self.passes = [
            (int(k), int(row), int(column), [ways[way] for way in near.split(", ") if way in ways])
            for k, row, column, near in table("<!-- passes -->")
        ]

    def layer(self, name: str, x: np.ndarray) -> np.ndarray:
        weight, bias, shift = (self.arrays[f"{name}.{k}"] for k in ("weight", "bias", "shift"))
        signed = name.startswith(("hidden", "own", "mean", "before."))
        low, high = (-2047, 2047) if signed else (0, 255)
        high = 63 if name.startswith("scale") else high
        return np.clip((x @ weight + bias) >> shift, low, high)

    def symbols(self, reader: Reader, scale: np.ndarray) -> np.ndarray:
        """Section 4.1."""
        flat, values, escapes = scale.ravel(), np.zeros(scale.size, np.int64), []
        for index in range(1, 64):
            reach = (len(self.tables[index]) - 1 - 2) // 2
            for place in np.flatnonzero(flat == index):
                value = reader.symbol(self.tables[index])
                values[place] = value - reach
                if value == 2 * reach + 1:
                    escapes.append((place, reach))
        for place, reach in escapes:
            e = reader.symbol(self.uniform)
            size = (e >> 1) + reach + 1
            values[place] = -size if e % 2 else size
        return values.reshape(scale.shape)

    def few(
        self, reader: Reader, known: Known, here: tuple[slice, ...], codes: np.ndarray, now: Scaled
    ) -> np.ndarray:
        """Section 4.7: symbols of which few values are left, after all others of their array."""
        zone = [0, *(self.zones.get(i, 0) for i in range(1, 64))]
        group = here[-1]
        earlier, own = (self.steps(c[here[:2]])[..., group] for c in (known.codes, codes))
        columns = (known.scales[here], known.symbols[here], known.values[here], earlier, own)
        places, rest = [], now.scale.copy().ravel()
        symbols = np.zeros(rest.size, np.int64)
        every = zip(*(c.ravel().tolist() for c in (*columns, now.scale, now.mean)), strict=True)
        for place, (i_before, y, v, t_before, t, i, mean) in enumerate(every):
            if not i_before or not i or not known.price:
                continue
            z = zone[i_before] * known.price >> 4
            low = 16 * v - (128 - z if y > 0 else 128 + z) * t_before
            high = 16 * v + (128 - z if y < 0 else 128 + z) * t_before
            ends = []
            for d in (low // t - 16 * mean, -(-high // t) - 16 * mean):
                ends.append((d - min(max(d, -zone[i]), zone[i]) + 128) >> 8)
            n = ends[1] - ends[0] + 1
            if n > 8 or ends[0] < -30_000 or ends[1] > 30_000:
                continue
            symbols[place], rest[place] = ends[0], 0
            if n > 1:
                places.append((place, i, ends[0], n))
        symbols += self.symbols(reader, rest)
        for place, i, first, n in places:
            counts = self.counts[i]
            reach = (len(counts) - 2) // 2
            a = [counts[first + k + reach] if abs(first + k) <= reach else 1 for k in range(n)]
            sums = [sum(a[:k]) << 24 for k in range(9)]
            parts = [total // sum(a) for total in sums]
            symbols[place] += reader.symbol(bounds_of(np.diff(parts).tolist()))
        return symbols.reshape(now.scale.shape)

    def steps(self, codes: np.ndarray) -> np.ndarray:
        """Quantiser steps in 256ths."""
        return self.arrays["steps"][codes]

    def before(self, codes: np.ndarray, known: Known) -> tuple[np.ndarray, np.ndarray]:
        """Section 4.6: u and b."""
        t = self.steps(codes)
        u = np.clip((2 * known.values + t) // (2 * t), -16383, 16383)
        m = halves(u)
        r = np.round(256 * 30 ** ((known.codes - codes) / 180)).astype(np.int64)
        near = np.minimum(127, (64 * r + 128) >> 8)[..., None]
        f = self.layer("before1", np.concatenate([m, abs(m), near], -1))
        return u, self.layer("before2", around(f))

    def read(
        self, payload: bytes, codes: np.ndarray, q: int, known: Known | None = None
    ) -> tuple[np.ndarray, ...]:
        """Hyper latent, symbols and means (sixteenths); those that stay, with what is known."""
        reader = Reader(payload)
        h, w = codes.shape
        rows, columns = -(-h // 4), -(-w // 4)
        mask = np.ones((h, w), bool)
        if known is None:
            scale = self.arrays["hyper_scales"][q]
            z = np.clip(self.symbols(reader, np.tile(scale, (rows, columns, 1))), -127, 127)
        else:
            z, mask = known.z, known.mask
            codes = np.where(mask, codes, known.codes)
            u, b = self.before(codes, known)
        d = self.layer("hyper1", around(z))
        for name in ("hyper2", "hyper3"):
            a = self.layer(name, d)
            d = np.zeros((2 * a.shape[0], 2 * a.shape[1], a.shape[2] // 4), np.int64)
            for i in range(2):
                for j in range(2):
                    d[i::2, j::2] = a[:, :, 2 * i + j :: 4]
        tent = [12 * np.maximum(0, 20 - abs(codes - 20 * k)) for k in range(10)]
        features = self.layer("mix", np.concatenate([d[:h, :w], np.stack(tent, -1)], -1))
        ends = np.cumsum([0, *(len(self.arrays[f"mean.0.{j}.bias"]) for j in range(6))])
        groups = [slice(*pair) for pair in itertools.pairwise(ends)]
        channels = ends[-1]
        symbols, means, self.scales = (np.zeros((h, w, channels), np.int64) for _ in range(3))
        g = np.zeros((h + 2, w + 2, self.arrays["context.bias"].shape[0]), np.int64)
        if known is not None:
            g[1:-1, 1:-1] = self.layer("context", halves(u)) * ~mask[..., None]
        padded_codes = np.pad(codes, 1)
        for k, row, column, near in self.passes:
            near_by = []
            for y, x in near:
                there = slice(1 + y, 1 + y + h), slice(1 + x, 1 + x + w)
                r = np.round(256 * 30 ** ((codes - padded_codes[there]) / 180)).astype(np.int64)
                near_by.append(np.minimum(255, (g[there] * r[..., None] + 128) >> 8))
            here = slice(row, None, 2), slice(column, None, 2)
            e = self.layer(f"hidden.{k}", np.concatenate([features, *near_by], -1)[here])
            if known is not None:
                e = e + self.layer(f"before.{k}", b[here])
            for j, group in enumerate(groups):
                x = np.clip(e, 0, 255)
                mean = self.layer(f"mean.{k}.{j}", x)
                if known is not None:
                    share = self.layer(f"gate.{k}.{j}", x)
                    share = share + (share >> 7)
                    mean = mean + ((share * (u[(*here, group)] - mean) + 128) >> 8)
                means[(*here, group)] = mean * mask[here][..., None]
                scale = self.layer(f"scale.{k}.{j}", x) * mask[here][..., None]
                self.scales[(*here, group)] = scale
                if known is None:
                    read = self.symbols(reader, scale)
                else:
                    read = self.few(reader, known, (*here, group), codes, Scaled(scale, mean))
                symbols[(*here, group)] = read
                if j < 5:
                    s = np.clip(read, -127, 127)
                    e = e + self.layer(f"own.{k}.{j}", np.concatenate([s, abs(s)], -1))
            n = halves(16 * symbols[here] + means[here])
            context = self.layer("context", n)
            g[1:-1, 1:-1][here] = np.where(mask[here][..., None], context, g[1:-1, 1:-1][here])
        assert reader.is_empty
        return z, symbols, means
