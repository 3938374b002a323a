"""The entropy network in torch: trainable twin of the network in `shared.coding.integer_network`.

Every value in it is a small integer held in a float32, every weight an integer times a power of
two, so the forward pass below is *exactly* what the integer network computes; gradients pass the
roundings straight through. With `quantised=False` the same weights run without rounding: the float
twin against which the cost of exactness is measured.

    z [B, Cz, h/4, w/4] --3x3--> 128 --1x1, shuffle--> 128 --1x1, shuffle--> 96 [B, 96, h, w] --+
    quality code [B, h, w] --tent over the 10 knots--> 10 ------------------------------------- +
                                                                                                |
    shared features 128 <------------------------------- 1x1 -----------------------------------+
      '--> pass k of four, with known neighbours (1x1 -> 64 each): 1x1, 1x1 -> mean, scale index
                   ^
    latents that the reader has before --1x1--> 96 --3x3--> 64 --1x1, added; means move to them

Checkerboards (He et al., "Checkerboard Context Model", CVPR 2021, section 3) code half of the
latents without neighbours; in these passes it is a quarter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.coding.integer_layers import (
    ACTIVATION_MAX,
    BEFORE_LIMIT,
    CONTEXT_LIMIT,
    EXACT,
    HIDDEN_LIMIT,
    KNOTS,
    LAST_CODE,
    MEAN_LIMIT,
    MEAN_UNIT,
    NEARNESS,
    PASSES,
    RATIOS,
    SCALES,
    SYMBOL_SEEN,
    WEIGHT_LIMIT,
)
from shared.coding.symbol_coder import LOG_SCALE_MIN, LOG_SCALE_STEP

Decode = Callable[[Tensor, Tensor, Tensor], Tensor]

MAX_SHIFT = 16
BIAS_UNIT = 32.0
GROUP_ENDS = (3, 8, 20, 44, 88, 192)  # of the channels: each group holds bits at some quality
OWN_UNIT = 32.0
BEFORE = {"before1": 96, "before2": 64}
HIDDEN = {"hyper": 128, "hyper_out": 96, "features": 128, "context": 64, "hidden": 192}


def round_through(x: Tensor) -> Tensor:
    """Round half up; the gradient is the identity."""
    # Not x plus the difference: that sum may miss the integer by the last bit.
    return torch.floor(x + 0.5).detach() + (x - x.detach())


def tent(codes: Tensor) -> Tensor:
    """Weights of the 10 knots at quality codes [B, h, w] (0..180): [B, 10, h, w] in 0..1."""
    knots = torch.arange(KNOTS, device=codes.device, dtype=torch.float32).view(1, -1, 1, 1)
    return (1.0 - (codes.float().unsqueeze(1) / 20.0 - knots).abs()).clamp_min(0.0)


def neighbour(x: Tensor, row: int, column: int) -> Tensor:
    """x [..., h, w] with the value of (i + row, j + column), each of -1..1, at (i, j)."""
    return F.pad(x, (-column, column, -row, row))


def in_own_steps(seen: Tensor, more: Tensor, quantised: bool = True) -> Tensor:
    """What is told of neighbours, [B, K, h, w], in own quantiser steps instead of theirs.

    more: by how much the own quality code is above theirs, [B, h, w].
    """
    ratios = torch.from_numpy(RATIOS).to(seen.device, torch.float32) / 256.0
    scaled = seen * ratios[(LAST_CODE + more).round().long()].unsqueeze(1)
    return (round_through(scaled) if quantised else scaled).clamp_max(ACTIVATION_MAX)


class IntegerConv(nn.Module):
    """A convolution in integers: int8 weights, one power-of-two shift a channel, clipped output."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        low: int = 0,
        high: int = ACTIVATION_MAX,
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.low, self.high, self.unit = low, high, unit
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / (inputs * kernel * kernel)))

    def scaled(self) -> Tensor:
        """The weight that inputs meet: `unit` brings what is trained near to one."""
        return self.weight * self.unit

    def shifts(self) -> Tensor:
        """[outputs] integers: the weight of a channel is its int8 times 2 ** -shift."""
        sizes = self.scaled().detach().abs().flatten(1).clamp_min(1e-8)
        # Products with the largest inputs leave an eighth of the exact range to the bias.
        most = EXACT * 7 / 8 / ACTIVATION_MAX
        unit = torch.minimum(WEIGHT_LIMIT / sizes.amax(1), most / sizes.sum(1))
        return torch.floor(torch.log2(unit)).clamp(0, MAX_SHIFT)

    def forward(self, x: Tensor, quantised: bool = True) -> Tensor:
        weight, bias = self.scaled(), self.bias * BIAS_UNIT
        if quantised:
            unit = torch.exp2(self.shifts())
            scaled = weight * unit.view(-1, 1, 1, 1)
            weight = round_through(scaled).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
            weight = weight / unit.view(-1, 1, 1, 1)
            bias = round_through(bias * unit) / unit
        out = F.conv2d(x, weight, bias, padding=self.weight.shape[-1] // 2)
        if quantised:
            out = round_through(out)
        return out.clamp(self.low, self.high)

    def export(self) -> dict[str, Tensor]:
        """For `entropy.npz`: weight [inputs * k * k, outputs], bias with the half, shift."""
        shift = self.shifts()
        unit = torch.exp2(shift)
        weight = torch.floor(self.scaled().detach() * unit.view(-1, 1, 1, 1) + 0.5)
        weight = weight.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias = torch.floor(self.bias.detach() * BIAS_UNIT * unit + 0.5) + torch.floor(unit / 2)
        # Taps outside channels: the numpy side gathers the 3x3 neighbourhood tap by tap.
        matrix = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
        return {
            "weight": matrix.to(torch.int8),
            "bias": bias.to(torch.int32),
            "shift": shift.to(torch.int8),
        }


@dataclass(frozen=True)
class Before:
    """Latents that the reader has, as in `shared.coding.integer_network`: values f64 [B, C, h, w],
    codes [B, h, w], -1 where nothing is there; hyper [B, Cz, h', w'] where it stands for the own
    one. bounds: between which latents lie that are the same ones, f64 [2, B, C, h, w]."""

    values: Tensor
    codes: Tensor
    hyper: Tensor | None = None
    bounds: Tensor | None = None


@dataclass(frozen=True)
class _Seen:
    """`Before` in own steps: f32 [B, C, h, w], where it is there [B, 1, h, w], features."""

    sixteenths: Tensor
    there: Tensor
    features: Tensor


class EntropyNet(nn.Module):
    """Means and scales of the latents from the hyper latent, the quality and known neighbours."""

    def __init__(self, latent_channels: int = 192, hyper_channels: int = 48) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.hyper_channels = hyper_channels
        wide, out = HIDDEN["hyper"], HIDDEN["hyper_out"]
        features, context, hidden = HIDDEN["features"], HIDDEN["context"], HIDDEN["hidden"]
        self.hyper1 = IntegerConv(hyper_channels, wide, 3)
        self.hyper2 = IntegerConv(wide, wide * 4)
        self.hyper3 = IntegerConv(wide, out * 4)
        self.mix = IntegerConv(out + KNOTS, features)
        self.context = IntegerConv(latent_channels, context)
        widths = group_widths(latent_channels)
        signed = {"low": -HIDDEN_LIMIT, "high": HIDDEN_LIMIT}
        self.hidden = nn.ModuleList(
            IntegerConv(features + len(near) * context, hidden, **signed) for _, near in PASSES
        )
        self.own, self.mean, self.scale = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.before1 = IntegerConv(2 * latent_channels + 1, BEFORE["before1"])
        self.before2 = IntegerConv(BEFORE["before1"], BEFORE["before2"], 3)
        self.before = nn.ModuleList(
            IntegerConv(BEFORE["before2"], hidden, unit=OWN_UNIT, **signed) for _ in PASSES
        )
        self.gate = nn.ModuleList()
        for _ in PASSES:
            self.gate.append(nn.ModuleList(IntegerConv(hidden, n) for n in widths))
            own = (IntegerConv(2 * n, hidden, unit=OWN_UNIT, **signed) for n in widths[:-1])
            mean = (IntegerConv(hidden, n, 1, -MEAN_LIMIT, MEAN_LIMIT) for n in widths)
            scale = (IntegerConv(hidden, n, 1, 0, SCALES - 1) for n in widths)
            self.own.append(nn.ModuleList(own))
            self.mean.append(nn.ModuleList(mean))
            self.scale.append(nn.ModuleList(scale))
        with torch.no_grad():
            # Hyper latents are a few units, activations tens: bring the first to the second.
            self.hyper1.weight.mul_(12.0)
            self.context.weight.mul_(8.0)
            self.before1.weight.mul_(8.0)
            for name, layer in self.layers().items():
                kind = name.partition(".")[0]
                start = {"mean": 0.05, "scale": 0.2, "own": 0.0, "before": 0.0, "gate": 0.0}
                layer.weight.mul_(start.get(kind, 1.0))
                # Means start half way to what was there before.
                layer.bias.fill_({"scale": 20.0, "gate": 128.0}.get(kind, 0.0) / BIAS_UNIT)

    def layers(self) -> dict[str, IntegerConv]:
        """All layers by the names that they have in `entropy.npz`."""
        return {name: m for name, m in self.named_modules() if isinstance(m, IntegerConv)}

    def layers_before(self) -> dict[str, IntegerConv]:
        """Of these, the ones that see what the reader has before, and nothing else does."""
        kinds = {"before1", "before2", "before", "gate"}
        return {name: m for name, m in self.layers().items() if name.partition(".")[0] in kinds}

    def features(self, z: Tensor, codes: Tensor, quantised: bool = True) -> Tensor:
        """Shared features [B, 128, h, w] of z [B, Cz, >=h/4, >=w/4] and codes [B, h, w]."""
        x = self.hyper1(z.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT), quantised)
        x = F.pixel_shuffle(self.hyper2(x, quantised), 2)
        x = F.pixel_shuffle(self.hyper3(x, quantised), 2)
        x = x[..., : codes.shape[-2], : codes.shape[-1]]
        quality = torch.round(tent(codes) * 240.0)  # integers, but for the division by 20 in it
        mixed: Tensor = self.mix(torch.cat([x, quality], dim=1), quantised)
        return mixed

    def forward(
        self,
        features: Tensor,
        codes: Tensor,
        gained: Tensor,
        decode: Decode,
        quantised: bool = True,
        before: Before | None = None,
        steps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mean (latent units) and scale index, [B, C, h, w] each, of gained latents like them.

        decode(gained, mean, index) gives what the decoder gets back, of the same shape. steps: the
        own quantiser steps [B, C, h, w], with `before`.
        """
        earlier = None
        if before is not None:
            assert steps is not None
            earlier = self._see(before, codes, steps, quantised)
        means, indices = torch.empty_like(gained), torch.empty_like(gained)
        known = features.new_zeros(len(features), HIDDEN["context"], *features.shape[-2:])
        for k, ((row, column), near) in enumerate(PASSES):
            here = (..., slice(row, None, 2), slice(column, None, 2))
            if not gained[here].numel():
                continue  # of a picture one latent high or wide
            around = [
                in_own_steps(
                    neighbour(known, *step)[here],
                    codes[here] - neighbour(codes, *step)[here],
                    quantised,
                )
                for step in near
            ]
            activations = self.hidden[k](torch.cat([features[here], *around], dim=1), quantised)
            there = None
            if earlier is not None:
                activations = activations + self.before[k](earlier.features[here], quantised)
                there = earlier.sixteenths[here], earlier.there[here]
            mean, index, decoded = self._groups(
                k, activations, gained[here], decode, quantised, there
            )
            means[here], indices[here] = mean, index
            if k < len(PASSES) - 1:
                half = decoded * 2.0
                half = round_through(half) if quantised else half
                seen = self.context(half.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT), quantised)
                known = known.clone()  # what earlier passes saw is part of their gradient
                known[here] = seen
        return means, indices

    def _see(self, before: Before, codes: Tensor, steps: Tensor, quantised: bool) -> _Seen:
        """What all passes see of latents that were there before."""
        there = (before.codes >= 0).unsqueeze(1)
        twice = 2.0 * steps.detach().double()
        sixteenths = torch.floor((2.0 * before.values + 0.5 * twice) / twice)
        sixteenths = sixteenths.clamp(-BEFORE_LIMIT, BEFORE_LIMIT).float() * there
        ratios = torch.from_numpy(RATIOS).to(codes.device, torch.float32)
        more = torch.where(there[:, 0], before.codes - codes, torch.zeros_like(codes))
        near = torch.floor((ratios[(LAST_CODE + more).round().long()] * NEARNESS + 128.0) / 256.0)
        near = near.clamp_max(WEIGHT_LIMIT).unsqueeze(1) * there
        halves = torch.floor((sixteenths + 4.0) / 8.0).clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)
        x = self.before1(torch.cat([halves, halves.abs(), near], dim=1), quantised)
        return _Seen(sixteenths, there, self.before2(x, quantised))

    def _groups(
        self,
        k: int,
        activations: Tensor,
        gained: Tensor,
        decode: Decode,
        quantised: bool,
        before: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale index and decoded latents of pass `k`, each group after those before it.

        before: sixteenths [B, C, r, c] and where they are there [B, 1, r, c].
        """
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        widths = group_widths(self.latent_channels)
        groups = gained.split(widths, dim=1)
        targets = before[0].split(widths, dim=1) if before is not None else ()
        for g, group in enumerate(groups):
            x = activations.clamp(0, ACTIVATION_MAX)
            mean = _of_group(self.mean, k, g)(x, quantised)
            if before is not None:
                share = _of_group(self.gate, k, g)(x, quantised)
                share = (share + (share >= 128.0)) * before[1]  # 0..256
                moved = share * (targets[g] - mean) / 256.0
                mean = mean + (round_through(moved) if quantised else moved)
            mean = mean / MEAN_UNIT
            index = _of_group(self.scale, k, g)(x, quantised)
            decoded = decode(group, mean, index)
            parts.append((mean, index, decoded))
            if g < len(groups) - 1:
                symbols = (decoded - mean).clamp(-SYMBOL_SEEN, SYMBOL_SEEN)
                # Where symbols are large, so are later ones, of either sign.
                own = _of_group(self.own, k, g)
                activations = activations + own(torch.cat([symbols, symbols.abs()], 1), quantised)
        mean, index, decoded = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return mean, index, decoded


def _of_group(layers: nn.ModuleList, number: int, group: int) -> nn.Module:
    """A layer by its pass and its group."""
    of_pass = layers[number]
    assert isinstance(of_pass, nn.ModuleList)
    return of_pass[group]


def group_widths(channels: int) -> list[int]:
    """How many of a latent's channels each group holds: of fewer than 192 the same shares."""
    inner = [max(g + 1, end * channels // GROUP_ENDS[-1]) for g, end in enumerate(GROUP_ENDS)]
    return [end - start for start, end in itertools.pairwise([0, *inner])]


def scales_of(index: Tensor) -> Tensor:
    """Standard deviation (latent units) of a scale index in 0..63."""
    return torch.exp(LOG_SCALE_MIN + LOG_SCALE_STEP * index)
