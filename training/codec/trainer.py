"""Train the variable-rate codec: rate + lambda * MSE at all qualities and level maps at once.

lambda of a knot follows from its start step: 0.9 * 12 / (2 ln 2 * step^2) for bits per pixel and
MSE in 8-bit units (the optimal uniform quantiser at high rate). Losses of the qualities are
balanced by lambda ** -0.25, else the highest alone would be trained.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UsageError
from shared.nets.codec import STRIDE, Codec, Coded, NetConfig, knot_steps
from shared.nets.entropy import tent
from shared.nets.rate import Rate
from training.codec.continuing import draw
from training.codec.crops import (
    PageStream,
    Shares,
    add_mixture_arguments,
    scene_stream,
    training_batches,
)
from training.loop.pictures import photographs
from training.loop.runner import (
    Runner,
    RunOptions,
    add_runner_arguments,
    load_checkpoint,
    part_of,
    spent,
)
from training.loop.square import SIDE

CELLS = (1, 2)  # latents a side
LEVEL_STEPS = (20, 30, 40)
MORE = 0.25  # share of the cells that get more bits, of two levels
FIRST_SCENE = 40_000_000
WORLD_VALIDATED = 16  # so that nearly every kind of page is there
MOST_VALIDATED = 16


def knot_lambdas() -> Tensor:
    """Lagrangian weights [10] for bpp + lambda * MSE (8-bit units)."""
    return 0.9 * 12.0 / (2.0 * math.log(2.0) * knot_steps() ** 2)


def lambdas(codes: Tensor) -> Tensor:
    """Weights [B, h, w] at quality codes [B, h, w], log-linear between the knots."""
    return torch.exp(
        torch.einsum("bkhw,k->bhw", tent(codes), knot_lambdas().log().to(codes.device))
    )


def balance(base: Tensor) -> Tensor:
    """Weights [B] of the losses at base codes [B], which would else be those of the highest."""
    weight = lambdas(base.view(-1, 1, 1)).view(-1) ** -0.25
    return weight / float(knot_lambdas().pow(-0.25).mean())


def random_codes(batch: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Local codes [B, h, w] and base codes [B]; half of the pictures carry a level map."""
    base = torch.randint(0, 181, (batch,), generator=generator)
    codes = base.view(-1, 1, 1).float().repeat(1, side, side)
    for codes_of_picture in codes:
        if torch.rand((), generator=generator) < 0.5:
            codes_of_picture += random_offsets(side, generator)
    return codes.clamp(0, 180), base.float()


def random_offsets(side: int, generator: torch.Generator) -> Tensor:
    """Codes [h, w] that a level map of blobs adds, of two levels or of three."""
    cell, step = (
        choices[int(torch.randint(len(choices), (), generator=generator))]
        for choices in (CELLS, LEVEL_STEPS)
    )
    cells = -(-side // cell)
    noise = torch.randn(1, cells + 2, cells + 2, generator=generator)
    smooth = 3.0 * F.avg_pool2d(noise, 3, 1)[0]  # of deviation 1
    if torch.rand((), generator=generator) < 0.5:
        levels = torch.where(smooth > smooth.quantile(1.0 - MORE), 1.0, -1.0)
    else:
        levels = smooth.round().clamp(-1, 1)
    spread = levels.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    return step * spread[:side, :side]


def loss_of(coded: Coded, picture: Tensor, codes: Tensor, base: Tensor) -> dict[str, Tensor]:
    """Balanced rate-distortion loss and its parts, means over the batch."""
    pixels = picture.shape[-1] * picture.shape[-2]
    error = ((coded.picture - picture) * 255.0).square().mean(1, keepdim=True)
    error = F.avg_pool2d(error, 16).squeeze(1)  # [B, h, w]
    bpp = coded.bits() / pixels
    distortion = (lambdas(codes) * error).mean(dim=(1, 2))
    return {
        "loss": ((bpp + distortion) * balance(base)).mean(),
        "bpp": bpp.mean(),
        "mse": error.mean(),
    }


@torch.no_grad()
def validate(codec: Codec, pictures: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Estimated bpp and PSNR at knots 1, 4 and 8 on centre crops of up to 16 pictures."""
    codec.eval()
    rate = Rate().eval()
    device = next(codec.parameters()).device
    crops: list[NDArray[np.uint8]] = []
    for picture in pictures:
        top, left = (picture.shape[0] - 256) // 2, (picture.shape[1] - 256) // 2
        if min(top, left) >= 0 and len(crops) < MOST_VALIDATED:
            crops.append(picture[top : top + 256, left : left + 256])
    if not crops:
        return {}
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div(255.0).to(device)
    scores = {}
    for knot in (1, 4, 8):
        codes = torch.full((len(crops), 16, 16), 20.0 * knot, device=device)
        coded = codec(x, codes, codes[:, 0, 0], rate)
        mse = (coded.picture.clamp(0, 1) - x).square().mean(dim=(1, 2, 3))
        scores[f"bpp{knot}"] = float(coded.bits().mean()) / 65536
        scores[f"psnr{knot}"] = float((-10 * mse.log10()).mean())
    return scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument("--crop", type=int, default=192, help="crop side in pixels, times 16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate")
    add_mixture_arguments(parser)
    parser.add_argument(
        "--synthesis",
        action="store_true",
        help="train the synthesis alone: what decodes better streams that stay the same",
    )


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged codec."""
    options = RunOptions.of(arguments)
    config = NetConfig()
    # Convolutions run 8 % faster on a CPU with channels last.
    codec = Codec(config).to(memory_format=torch.channels_last)
    if arguments.synthesis:
        codec.requires_grad_(False).synthesis.requires_grad_(True)
    runner = Runner(options, codec, arguments.rate)
    if options.start is not None:
        runner.earlier = spent(options.start, "codec")
    rate = Rate().train()
    rng = np.random.default_rng((options.seed, runner.steps_ever))
    generator = torch.Generator().manual_seed(options.seed + runner.steps_ever)
    shares = Shares.of(arguments)
    source = training_batches(
        options.data,
        shares,
        arguments.batch,
        arguments.crop,
        rng,
        lambda first: runner.next_scene(first, arguments.batch),
        FIRST_SCENE,
    )

    def loss_of_step(codec: Codec, step: int) -> dict[str, Tensor]:
        picture = next(source).to(options.device).contiguous(memory_format=torch.channels_last)
        codes, base = random_codes(arguments.batch, arguments.crop // STRIDE, generator)
        codes, base = codes.to(options.device), base.to(options.device)
        before = None
        if torch.rand((), generator=generator) < arguments.before:
            before = draw(codec, codes, base, rate, generator)
        return loss_of(codec(picture, codes, base, rate, before=before), picture, codes, base)

    runner.run(loss_of_step, validate_all(options.data, shares), {"config": asdict(config)})


def validate_all(data: Path, shares: Shares) -> Callable[[Codec], dict[str, float]]:
    """Scores of a codec on photographs that no training sees, and on scenes and pages likewise
    where it learns from some."""
    worlds = {"": photographs(data, "val")}
    if shares.scenes:
        drawn = scene_stream("val", data).batch(WORLD_VALIDATED, (SIDE, SIDE))
        worlds["scene_"] = [sample.picture for sample in drawn]
    if shares.pages:
        pages = PageStream("val", data)
        worlds["page_"] = [pages.page((SIDE, SIDE)) for _ in range(WORLD_VALIDATED)]

    def scores(codec: Codec) -> dict[str, float]:
        return {
            f"{world}{name}": value
            for world, pictures in worlds.items()
            for name, value in validate(codec, pictures).items()
        }

    return scores


def load_codec(run: Path) -> Codec:
    """The averaged codec of a run, or of a joint run, in evaluation mode.

    Raises UsageError where it is a codec of another form.
    """
    state = load_checkpoint(run)
    codec = Codec(NetConfig(**state["info"]["config"]))
    try:
        codec.load_state_dict(part_of(state["average"], "codec"))
    except RuntimeError as error:
        raise UsageError(
            f"{run} holds a codec of another form than this version trains",
            hint="train on from what fits of it with `training codec --start`",
        ) from error
    return codec.eval()
