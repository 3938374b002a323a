"""The variable-rate codec in torch: analysis, synthesis, gains, and the whole for training.

picture [B,3,H,W] 0..1
   |  Analysis: 16x16 linear transform (starts as a DCT) + neural residual (starts at zero)
latent [B,C,H/16,W/16]
   |  Gains: one log gain a channel and quality knot, interpolated; each cell its own quality
gained latent --HyperAnalysis--> z [B,Cz,H/64,W/64] --round--+
   |                                                         |
   |  round(latent - mean) coded under N(0, scale)  <--- EntropyNet (exact integers)
decoded latent, gains undone
   |  Synthesis: transposed linear transform + neural residual
picture
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.coding.integer_layers import CODES, KNOTS, MEAN_UNIT, SCALES, STEP_UNIT
from shared.coding.symbol_coder import bits_of_one, dead_zones, scale_tables
from shared.nets.entropy import Before, EntropyNet, round_through, scales_of, tent
from shared.nets.precision import mixed_precision
from shared.nets.start import start_at_zero

STRIDE = 16
FAR = 1e6  # in own steps: no bound
FIRST_STEP, LAST_STEP = 420.0, 14.0  # quantiser steps of knots 0 and 9, in 8-bit units


@dataclass(frozen=True)
class NetConfig:
    """Widths and depths of the networks; what the bitstream depends on is in the manifest."""

    latent_channels: int = 192
    hyper_channels: int = 48
    analysis_width: int = 128
    analysis_blocks: int = 4
    synthesis_width: int = 160
    synthesis_blocks: int = 10


def knot_steps() -> Tensor:
    """Start quantiser steps of the 10 knots, geometric, in 8-bit units, orthonormal."""
    return torch.logspace(math.log10(FIRST_STEP), math.log10(LAST_STEP), KNOTS)


def dct_basis(channels: int) -> Tensor:
    """[channels, 3, 16, 16]: the lowest DCT-II functions of three decorrelated colour planes.

    Rows are orthonormal. Luma keeps about two thirds of them; a chroma function counts as one of
    2.2 times its frequency, because photographs hold less energy there.
    """
    n = torch.arange(STRIDE, dtype=torch.float64)
    basis = torch.cos(math.pi / STRIDE * (n[None, :] + 0.5) * n[:, None]) * math.sqrt(2 / STRIDE)
    basis[0] /= math.sqrt(2)
    basis_2d = torch.einsum("ux,vy->uvxy", basis, basis)
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
    colour = (colour / colour.norm(dim=1, keepdim=True)).double()
    order = sorted(
        (math.hypot(u, v) * (1.0 if plane == 0 else 2.2), plane, u, v)
        for plane in range(3)
        for u in range(STRIDE)
        for v in range(STRIDE)
    )[:channels]
    rows = [colour[plane][:, None, None] * basis_2d[u, v] for _, plane, u, v in order]
    return torch.stack(rows).float()


class Block(nn.Module):
    """Depthwise 3x3 and a gated feed-forward, both residual (the shape of DCVC-RT's blocks)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix_in = nn.Conv2d(width, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix_out = nn.Conv2d(width, width, 1)
        self.gate = nn.Conv2d(width, 3 * width, 1)
        self.down = nn.Conv2d(3 * width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_out(self.depthwise(F.leaky_relu(self.mix_in(x), 0.1)))
        value, gate = self.gate(x).chunk(2, dim=1)
        out: Tensor = x + self.down(value * F.relu(gate))
        return out

    def value_and_gate(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Weight and bias of what `gate` calls value, then of the gate itself."""
        return zip(self.gate.weight.chunk(2), self.gate.get_parameter("bias").chunk(2), strict=True)


class Blocks(nn.Sequential):
    """Blocks, one after another."""

    def __iter__(self) -> Iterator[Block]:
        return cast("Iterator[Block]", super().__iter__())


class Analysis(nn.Module):
    """picture [B, 3, 16h, 16w] in 0..1 -> latent [B, C, h, w] in 8-bit units."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        width, channels = config.analysis_width, config.latent_channels
        self.linear = nn.Conv2d(3, channels, STRIDE, STRIDE, bias=False)
        self.enter = nn.Conv2d(192, width, 1)
        self.blocks = Blocks(*(Block(width) for _ in range(config.analysis_blocks)))
        self.leave = nn.Conv2d(width, channels, 2, 2)
        _start_linear(self.linear.weight, channels)
        start_at_zero(self.leave)

    def forward(self, picture: Tensor) -> Tensor:
        centred = picture - 0.5
        x = self.leave(self.blocks(self.enter(F.pixel_unshuffle(centred, 8))))
        latent: Tensor = (self.linear(centred) + x) * 255.0
        return latent


class Synthesis(nn.Module):
    """latent [B, C, h, w] in 8-bit units, quality codes [B, h, w] -> picture [B, 3, 16h, 16w]."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        width, channels = config.synthesis_width, config.latent_channels
        self.config = config
        self.linear = nn.ConvTranspose2d(channels, 3, STRIDE, STRIDE, bias=False)
        self.enter = nn.Conv2d(channels + KNOTS, width * 4, 1)
        self.blocks = Blocks(*(Block(width) for _ in range(config.synthesis_blocks)))
        self.leave = nn.Conv2d(width, 192, 1)
        _start_linear(self.linear.weight, channels)
        start_at_zero(self.leave)
        for block in self.blocks:
            # Blocks start as the identity, so that a trained synthesis can be made deeper.
            start_at_zero(block.mix_out, block.down)

    @property
    def reach(self) -> int:
        """How many latents away from a pixel's own it still depends on: half a one a block."""
        return -(-self.config.synthesis_blocks // 2)

    def forward(self, latent: Tensor, codes: Tensor) -> Tensor:
        latent = latent / 255.0
        x = self.enter(torch.cat([latent, tent(codes)], dim=1))
        x = self.leave(self.blocks(F.pixel_shuffle(x, 2)))
        linear = F.pixel_shuffle(F.conv2d(latent, self.linear_weight()), STRIDE)
        return linear + F.pixel_shuffle(x, 8) + 0.5

    def linear_weight(self) -> Tensor:
        """[768, C, 1, 1]: the linear path as a 1x1 convolution before a pixel shuffle.

        torch's transposed convolution of these strides takes ten times as long on a CPU.
        """
        return self.linear.weight.flatten(1).T[..., None, None].contiguous()


def _start_linear(weight: Tensor, channels: int) -> None:
    """DCT rows first; what remains of the channels starts at zero and is the network's alone."""
    linear = min(160, channels)
    with torch.no_grad():
        weight.zero_()
        weight[:linear] = dct_basis(linear)


class HyperAnalysis(nn.Module):
    """gained latent [B, C, 4h, 4w] -> hyper latent before rounding [B, Cz, h, w].

    Only 1x1 layers between space-to-depth steps, so that numpy runs it as three matrix products.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.first = nn.Conv2d(config.latent_channels, 96, 1)
        self.second = nn.Conv2d(96 * 4, 128, 1)
        self.third = nn.Conv2d(128 * 4, config.hyper_channels, 1)

    def forward(self, gained: Tensor) -> Tensor:
        x = F.relu(self.first(gained))
        x = F.relu(self.second(F.pixel_unshuffle(x, 2)))
        hyper: Tensor = self.third(F.pixel_unshuffle(x, 2))
        return hyper


BeforeOf = Callable[[Tensor], Before]


@dataclass
class Coded:
    """What a forward pass yields. Bits are [B, h, w] and [B, h', w'] (hyper), by position."""

    picture: Tensor
    latent: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor

    def bits(self) -> Tensor:
        """Estimated bits of each picture, [B]."""
        return self.latent_bits.sum(dim=(1, 2)) + self.hyper_bits.sum(dim=(1, 2))


class Codec(nn.Module):
    """Everything between a picture and its decoded picture, with estimated bits."""

    dead_zones: Tensor

    def __init__(self, config: NetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetConfig()
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.entropy = EntropyNet(config.latent_channels, config.hyper_channels)
        steps = knot_steps().log().view(-1, 1)
        self.log_gain = nn.Parameter(-steps.repeat(1, config.latent_channels))
        self.hyper_log_gain = nn.Parameter(torch.zeros(KNOTS, config.hyper_channels))
        self.hyper_scale = nn.Parameter(torch.full((KNOTS, config.hyper_channels), 24.0 / 32.0))
        zones = torch.from_numpy(dead_zones(bits_of_one(*scale_tables())))
        self.register_buffer("dead_zones", zones, persistent=False)

    def steps(self) -> Tensor:
        """[181, C]: quantiser steps of the quality codes, integers in 256ths of an 8-bit unit.

        Those between the knots follow from the rounded ones, so a bundle's come back from it.
        """
        knots = round_through(STEP_UNIT * torch.exp(-self.log_gain)).clamp_min(1.0)
        codes = torch.arange(CODES, device=knots.device).view(-1, 1, 1)
        return round_through(torch.exp(tent(codes).flatten(1) @ knots.log()))

    def steps_at(self, codes: Tensor) -> Tensor:
        """[B, C, h, w]: the steps at quality codes [B, h, w], which are whole numbers."""
        return self.steps()[codes.long()].permute(0, 3, 1, 2)

    def hyper_gains(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and scale index, [B, Cz, 1, 1] each, of the hyper latent at base codes [B]."""
        weights = tent(base.view(-1, 1, 1))
        gain = torch.exp(torch.einsum("bkhw,kc->bchw", weights, self.hyper_log_gain))
        # Those between the knots follow from the rounded ones, as steps do.
        knots = round_through(32.0 * self.hyper_scale).clamp(0, SCALES - 1)
        return gain, round_through(torch.einsum("bkhw,kc->bchw", weights, knots))

    def forward(
        self,
        picture: Tensor,
        codes: Tensor,
        base: Tensor,
        rate: nn.Module,
        quantised: bool = True,
        before: BeforeOf | None = None,
    ) -> Coded:
        """Code pictures [B, 3, 16h, 16w] at local codes [B, h, w] and base codes [B].

        before: what the reader has already, of latents f32 [B, C, h, w].
        """
        with mixed_precision(picture.device.type, self.training):
            latent = self.analysis(picture).float()
        decoded, latent_bits, hyper_bits = self.code_latent(
            latent, codes, base, rate, quantised, None if before is None else before(latent)
        )
        with mixed_precision(picture.device.type, self.training):
            restored = self.synthesis(decoded, codes)
        return Coded(restored.float(), decoded, latent_bits, hyper_bits)

    def code_latent(
        self,
        latent: Tensor,
        codes: Tensor,
        base: Tensor,
        rate: nn.Module,
        quantised: bool = True,
        before: Before | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded latent [B, C, h, w], bits [B, h, w] of it and [B, h', w'] of the hyper latent."""
        steps = self.steps_at(codes)
        gained, mean, index, _, hyper_bits = self._predicted(
            latent, codes, base, rate, quantised, steps, before
        )
        latent_bits = rate(self._drawn(gained - mean, index) + mean, scales_of(index), mean)
        if before is not None and before.bounds is not None:
            latent_bits = latent_bits + self._log2_inside(before.bounds / steps, mean, index)
        decoded = self._decoded(gained, mean, index) * steps / STEP_UNIT
        return decoded, latent_bits.sum(1), hyper_bits

    @torch.no_grad()
    def before(self, latent: Tensor, codes: Tensor, base: Tensor, rate: nn.Module) -> Before:
        """What a reader has of latents [B, C, h, w] that were coded at these codes."""
        steps = self.steps_at(codes)
        gained, mean, index, z, _ = self._predicted(latent, codes, base, rate, True, steps, None)
        decoded = self._decoded(gained, mean, index)
        sixteenths = torch.round(MEAN_UNIT * decoded)
        zone = self.dead_zones[index.round().long()]
        symbol = torch.round(decoded - mean)
        # Distances were drawn to zero by the zone: what is coded as 0 may be so much farther.
        low = symbol - 0.5 + torch.where(symbol > 0, zone, -zone)
        high = symbol + 0.5 + torch.where(symbol < 0, -zone, zone)
        ends = torch.stack([low, high])
        far = ends.new_tensor([-FAR, FAR]).view(2, 1, 1, 1, 1)
        bounds = torch.where(index == 0, far, mean + ends).double() * steps
        return Before(sixteenths.double() * steps.double(), codes, z, bounds)

    def _predicted(
        self,
        latent: Tensor,
        codes: Tensor,
        base: Tensor,
        rate: nn.Module,
        quantised: bool,
        steps: Tensor,
        before: Before | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Latents in own steps, their means and scale indices, [B, C, h, w] each, the hyper latent
        and its bits, [B, Cz, h', w'] and [B, h', w']."""
        gained = latent * (STEP_UNIT / steps)
        z, hyper_bits = self._hyper(gained, base, rate)
        if before is not None and before.hyper is not None:
            z, hyper_bits = before.hyper, torch.zeros_like(hyper_bits)
        features = self.entropy.features(z, codes, quantised)
        mean, index = self.entropy(features, codes, gained, self._decoded, quantised, before, steps)
        return gained, mean, index, z, hyper_bits

    def _log2_inside(self, bounds: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        """log2 of how likely symbols are of which latents between bounds [2, B, C, h, w], in own
        steps, may become one: what need not be told."""
        ends = self._drawn(bounds.float() - mean, index)
        ends = ends + ends.new_tensor([-0.5, 0.5]).view(2, 1, 1, 1, 1)
        # A difference of two nearly equal numbers is none in float32: by the nearer tail.
        low, high = ends / scales_of(index) / math.sqrt(2)
        low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
        inside = 0.5 * (torch.erfc(-high) - torch.erfc(-low))
        return inside.clamp_min(1e-9).log2()

    def _hyper(self, gained: Tensor, base: Tensor, rate: nn.Module) -> tuple[Tensor, Tensor]:
        """Hyper latent [B, Cz, h', w'] of latents in own steps, and its bits [B, h', w']."""
        height, width = gained.shape[-2:]
        padded = F.pad(gained, (0, -width % 4, 0, -height % 4))
        gain, index = self.hyper_gains(base)
        z = self.hyper_analysis(padded) * gain
        bits = rate(z, scales_of(index).expand_as(z), torch.zeros_like(z))
        # The coder skips scale index 0: what it would carry is lost, so it is not there at all.
        return torch.where(index == 0, torch.zeros_like(z), round_through(z)), bits.sum(1)

    def _drawn(self, distance: Tensor, index: Tensor) -> Tensor:
        """Distances to the mean, drawn to zero by the dead zone of their scale index."""
        zone = self.dead_zones[index.detach().round().long()]
        return distance - distance.clamp(-zone, zone)

    def _decoded(self, gained: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        """What the decoder gets back; at scale index 0 nothing is coded and the mean stands."""
        distance = gained - mean
        symbol = torch.floor(self._drawn(distance, index) + 0.5)
        # The gradient is that of plain rounding: a dead zone would stop it. The value is exact, as
        # later passes round it once more.
        through = distance - distance.detach()
        return torch.where(index == 0, mean, symbol + mean + through)


def save_synthesis(synthesis: Synthesis, path: Path) -> None:
    """Write `decoder.safetensors`, self-describing, in float16 (its error is below 1/255)."""
    tensors = {k: v.detach().half().contiguous() for k, v in synthesis.state_dict().items()}
    save_file(tensors, str(path), metadata={"config": json.dumps(asdict(synthesis.config))})


def load_synthesis(path: Path) -> Synthesis:
    """Read `decoder.safetensors`; the network comes back in float32, in evaluation mode."""
    with safe_open(str(path), framework="pt") as file:
        metadata: dict[str, Any] = json.loads(file.metadata()["config"])
    synthesis = Synthesis(NetConfig(**metadata))
    synthesis.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    return synthesis.eval()
