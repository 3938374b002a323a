"""Train the entropy network alone, for a codec whose transforms stay as they are.

Bits are weighed against the squared error of the latents: what a latent's error costs in pixels is
measured once, by the gradients of the synthesis, which then is not needed any more: a step on
sixteen pictures of 256x256 takes half as long as one of the whole codec on four crops of 192x192.
Latents that are not coded come back as other means, so an adapter has to train on afterwards.
With `--continuing` only those layers train that see latents known before: all streams of whole
pictures stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from shared.nets.codec import STRIDE, Codec
from shared.nets.entropy import Before
from shared.nets.rate import Rate
from training.codec.continuing import draw
from training.codec.crops import Shares, add_mixture_arguments, training_batches
from training.codec.trainer import balance, lambdas, load_codec, random_codes, validate_all
from training.loop.runner import Losses, Runner, RunOptions, add_runner_arguments, spent
from training.loop.square import SIDE

FIRST_SCENE: Final = 50_000_000
POOL: Final = 2_000  # latents that are drawn from
FRESH: Final = 2  # of them are new at each step
FIRST: Final = 256
MEASURED_AT: Final = (20.0, 60.0, 100.0, 140.0)  # quality codes
PROBES: Final = 2


def energy_gains(codec: Codec, latent: Tensor) -> Tensor:
    """[C]: squared error a pixel, in 8-bit units, of a unit of squared error of a latent.

    By random projections of the synthesis' Jacobian, on average over latents [B, C, h, w].
    """
    energies = torch.zeros(latent.shape[1], device=latent.device)
    for code in MEASURED_AT:
        latent = latent.detach().requires_grad_()
        codes = torch.full_like(latent[:, 0], code)
        for _ in range(PROBES):
            picture = 255.0 * codec.synthesis(latent, codes)
            (gradient,) = torch.autograd.grad((picture * torch.randn_like(picture)).sum(), latent)
            energies += gradient.square().mean(dim=(0, 2, 3))
    return energies / (len(MEASURED_AT) * PROBES) / (3 * STRIDE**2)


class LatentPool:
    """Latents f32 [B, C, h, w] of pictures, each of which is drawn several times."""

    def __init__(self, codec: Codec, source: Iterator[Tensor], generator: torch.Generator) -> None:
        self._codec, self._source, self._generator = codec, source, generator
        self._device = next(codec.parameters()).device
        self._kept: list[Tensor] = []
        while len(self._kept) < FIRST:
            self._renew()

    def batch(self, size: int) -> Tensor:
        """Random ones, after the oldest have made room for new ones."""
        self._renew()
        drawn = torch.randint(len(self._kept), (size,), generator=self._generator)
        return torch.stack([self._kept[i] for i in drawn]).float()

    @torch.no_grad()
    def _renew(self) -> None:
        self._kept += self._codec.analysis(next(self._source).to(self._device)).half()
        del self._kept[:-POOL]


def loss_of(
    codec: Codec,
    latent: Tensor,
    codes: Tensor,
    base: Tensor,
    rate: Rate,
    gains: Tensor,
    before: Before | None = None,
) -> Losses:
    """Rate and distortion as the codec's own loss, with the error of the latents for pixels'."""
    decoded, bits, hyper_bits = codec.code_latent(latent, codes, base, rate, before=before)
    bpp = (bits.sum(dim=(1, 2)) + hyper_bits.sum(dim=(1, 2))) / (codes[0].numel() * STRIDE**2)
    error = torch.einsum("bchw,c->bhw", (decoded - latent).square(), gains)
    distortion = (lambdas(codes) * error).mean(dim=(1, 2))
    return {
        "loss": ((bpp + distortion) * balance(base)).mean(),
        "bpp": bpp.mean(),
        "mse": error.mean(),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument("--codec", type=Path, required=True, help="folder of a codec or joint run")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument(
        "--continuing",
        action="store_true",
        help="train the layers for latents known before alone: other streams stay the same",
    )
    add_mixture_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the whole codec."""
    options = RunOptions.of(arguments)
    codec = load_codec(arguments.codec)
    for part in (codec.analysis, codec.synthesis):
        part.requires_grad_(False)
    codec.log_gain.requires_grad_(False)
    if arguments.continuing:
        codec.requires_grad_(False)
        for layer in codec.entropy.layers_before().values():
            layer.requires_grad_(True)
    runner = Runner(options, codec, arguments.rate)
    rate = Rate().train()
    rng = np.random.default_rng((options.seed, runner.steps_ever))
    generator = torch.Generator().manual_seed(options.seed + runner.steps_ever)
    shares = Shares.of(arguments)
    source = training_batches(
        options.data,
        shares,
        FRESH,
        SIDE,
        rng,
        lambda first: runner.next_scene(first, FRESH),
        FIRST_SCENE,
    )
    pool = LatentPool(codec, source, generator)
    gains = energy_gains(codec, pool.batch(arguments.batch))
    share_before = 1.0 if arguments.continuing else arguments.before

    def loss_of_step(model: Codec, step: int) -> Losses:
        latent = pool.batch(arguments.batch)
        codes, base = random_codes(arguments.batch, SIDE // STRIDE, generator)
        codes, base = codes.to(options.device), base.to(options.device)
        before = None
        if torch.rand((), generator=generator) < share_before:
            before = draw(codec, codes, base, rate, generator)(latent)
        return loss_of(codec, latent, codes, base, rate, gains, before)

    info = {"config": asdict(codec.config), "before": {"codec": spent(arguments.codec, "codec")}}
    runner.run(loss_of_step, validate_all(options.data, shares), info)
