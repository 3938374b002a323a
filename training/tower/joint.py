"""Train codec and adapter together, on what the tower makes of a picture: beyond the paper.

The paper's codec is frozen and knows pixels alone. Here bits are weighed against both:

    bits + (1 - PIXELS) * mu * (0.1 * low + high) + PIXELS * lambda * MSE

low and high are the adapter's losses. mu of a quality is what a unit of them costs in bits between
the frozen codec's qualities, found before the first step: so each quality starts where it was.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from shared.nets.precision import mixed_precision
from training.codec.trainer import balance, lambdas, load_codec
from training.loop.runner import Losses, Runner, RunOptions, add_runner_arguments, spent
from training.loop.square import SIDE
from training.tower.qualities import random_qualities
from training.tower.runs import adapter_info, load_adapter_run
from training.tower.squares import CodedSquares, JointTower, losses_of, validate

if TYPE_CHECKING:
    from training.loop.world import SceneStream

LOW, HIGH = 0.1, 1.0
PIXELS: Final = 0.2
FIRST_SCENE: Final = 30_000_000
KNOTS_MEASURED: Final = (0, 20, 40, 60, 80, 100, 120, 140)
MEASURED_ON: Final = 24  # pictures
STEP: Final = 30  # of the level map
VALIDATION_PICTURES = 40


def feature_loss(losses: Losses) -> Tensor:
    """The adapter's loss [B] of each picture."""
    return LOW * losses["low"] + HIGH * losses["high"]


@torch.no_grad()
def prices(model: Any, stream: SceneStream, device: str) -> tuple[float, float]:
    """Logarithm of mu, bits a pixel for a unit of feature loss, as a line over the quality code."""
    samples = stream.batch(MEASURED_ON, (SIDE, SIDE))
    bits, losses = [], []
    for code in KNOTS_MEASURED:
        base = torch.full((len(samples),), code, device=device)
        coded = model.code(samples, base, torch.full_like(base, STEP))
        bits.append(float(coded.bits.mean()) / SIDE**2)
        losses.append(float(feature_loss(losses_of(model, coded)).mean()))
    slopes = -np.diff(bits) / np.minimum(np.diff(losses), -1e-6)
    middles = np.convolve(KNOTS_MEASURED, (0.5, 0.5), "valid")
    slope, start = np.polyfit(middles, np.log(slopes), 1)
    return float(start), float(slope)


def joint_loss(
    coded: CodedSquares, losses: Losses, base: Tensor, price: tuple[float, float]
) -> Losses:
    """Balanced over qualities as the codec's own loss, and its parts; means over the batch."""
    pixels = coded.covered.flatten(1).sum(dim=1) * (SIDE / coded.covered.shape[-1]) ** 2
    bpp = coded.bits / pixels
    error = ((coded.decoded - coded.original) * 255.0).square().mean(dim=1)
    mse = error.sum(dim=(1, 2)) / pixels
    mu = torch.exp(price[0] + price[1] * base.float())
    weight = balance(base.float())
    pixel_part = lambdas(base.view(-1, 1, 1)).view(-1) * mse
    total = bpp + (1.0 - PIXELS) * mu * feature_loss(losses) + PIXELS * pixel_part
    parts = {"bpp": bpp, "mse": mse, **losses}
    means = {name: each.mean() for name, each in parts.items()}
    return {"loss": (total * weight).mean(), **means}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from training.loop.world import add_world_argument

    add_runner_arguments(parser)
    add_world_argument(parser)
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec run")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the clip run")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter run")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-4, help="peak learning rate")


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's folder then stands for a codec's and for an adapter's in `export`."""
    from training.loop.world import SceneStream
    from training.small_models.clip import load_clip

    options = RunOptions.of(arguments)
    codec, adapter = load_codec(arguments.codec), load_adapter_run(arguments.adapter)
    visual = load_clip(arguments.clip).clip.visual
    towers = JointTower(codec, visual, adapter)
    runner = Runner(options, towers, arguments.rate)
    visual = load_clip(arguments.clip).clip.visual
    towers.set_tower(visual)
    start = runner.next_scene(FIRST_SCENE, arguments.batch)
    stream = SceneStream("train", options.data, start, arguments.worlds)
    held_out = SceneStream("val", options.data).batch(VALIDATION_PICTURES, (SIDE, SIDE))
    generator = torch.Generator().manual_seed(options.seed + runner.steps_ever)
    fresh = JointTower(load_codec(arguments.codec), visual, load_adapter_run(arguments.adapter))
    price = prices(
        fresh.to(options.device).eval(), SceneStream("val", options.data), options.device
    )

    def loss_of_step(model: JointTower, step: int) -> Losses:
        samples = stream.batch(arguments.batch, stream.size())
        base, steps = (t.to(options.device) for t in random_qualities(len(samples), generator))
        coded = model.code(samples, base, steps)
        with mixed_precision(options.device):
            losses = losses_of(model, coded)
        return joint_loss(coded, losses, base, price)

    info = {
        "config": asdict(codec.config),
        **adapter_info(adapter.config),
        "before": {
            "codec": spent(arguments.codec, "codec"),
            "adapter": spent(arguments.adapter, "adapter"),
        },
    }
    runner.run(loss_of_step, lambda model: validate(model, held_out, options.device), info)
