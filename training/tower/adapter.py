"""Train the latent feature adapter: codec and tower frozen, all qualities and level maps at once.

Loss (CoTAM, section 4.3): 0.1 * MSE(patch embeddings) + 1 * MSE(final tokens) against the picture
that was not compressed; the first part of the time trains the low level alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.level_map import LevelMap, flat_codes, quantise_importance
from shared.nets.adapter import AdapterConfig, LatentAdapter
from shared.nets.codec import STRIDE, Codec
from shared.nets.entropy import round_through
from shared.nets.guidance import Guidance
from shared.nets.precision import mixed_precision
from shared.nets.rate import Rate
from training.codec.trainer import load_codec
from training.loop.runner import (
    Losses,
    Runner,
    RunOptions,
    add_runner_arguments,
    load_checkpoint,
    part_of,
)
from training.loop.square import DEVIATION, MEAN, PATCH, SIDE, normalise, pixels
from training.small_models.conversion import convert_tower
from training.tower.qualities import balance, random_qualities
from training.tower.trainer import load_tower_run

if TYPE_CHECKING:
    from training.loop.world import Sample

LOW, HIGH = 0.1, 1.0
WARM_UP = 0.15  # share of the time for the low level alone, of an adapter that knows nothing
ECHOES = 2  # steps on each coded batch: drawing and coding it takes as long as a step
MAP_CELL, MAP_LEVELS, MAP_K = 16, 2, 0.0  # of the level maps, as `export` writes them
VALIDATION_PICTURES = 40
VALIDATION_CODES = (20, 50, 80)


@dataclass(frozen=True)
class CodedSquares:
    """Pictures on the tower's square before and after the codec, [B, 3, S, S], and what the adapter
    gets: latent [B, C, g, g], codes and covered [B, g, g]; bits [B], estimated. wanted: the
    original's embeddings and final tokens, [B, 1 + N, D] each."""

    original: Tensor
    wanted: tuple[Tensor, Tensor]
    decoded: Tensor
    latent: Tensor
    codes: Tensor
    covered: Tensor
    bits: Tensor


class AdaptedTower(nn.Module):
    """The frozen codec and tower, and the adapter between them."""

    def __init__(self, codec: Codec, visual: nn.Module, adapter: LatentAdapter) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(False)
        self.tower = convert_tower(visual).requires_grad_(False)
        self.guidance = Guidance(visual, MEAN, DEVIATION).requires_grad_(False)
        self.adapter = adapter
        self.rate = Rate()
        self.train()

    def set_tower(self, visual: nn.Module) -> None:
        """Aim at what this tower makes of a picture, whichever a run began with."""
        self.tower.load_state_dict(convert_tower(visual).state_dict())

    def set_codec(self, codec: Codec) -> None:
        """Adapt to what this codec makes of a picture, whichever a run began with."""
        self.codec.load_state_dict(codec.state_dict())

    def train(self, mode: bool = True) -> AdaptedTower:
        """The adapter trains; the rest stays in evaluation mode."""
        super().train(mode)
        for frozen in (self.codec, self.tower, self.guidance, self.rate):
            frozen.eval()
        return self

    def code(self, samples: list[Sample], base: Tensor, step: Tensor) -> CodedSquares:
        """Equally large samples, coded; base i64 [B]; step i64 [B] of the level map, 0 for none."""
        original = pixels(samples).to(base.device)
        height, width = samples[0].scene.picture.shape[:2]
        codes = self.codes(original, base, step, width, height)
        picture = original[:, :, :height, :width]
        with mixed_precision(base.device.type):
            latent = self.codec.analysis(picture)
        latent, bits, hyper_bits = self.codec.code_latent(
            latent.float(), codes, base.float(), self.rate
        )
        with mixed_precision(base.device.type):
            restored = self.codec.synthesis(latent, codes)
        decoded = original.clone()
        decoded[:, :, :height, :width] = round_through(restored.float().clamp(0, 1) * 255) / 255
        grid = SIDE // STRIDE
        lack = (0, grid - codes.shape[-1], 0, grid - codes.shape[-2])
        covered = F.pad(torch.ones_like(codes), lack)
        sizes = bits.sum(dim=(1, 2)) + hyper_bits.sum(dim=(1, 2))
        with torch.no_grad(), mixed_precision(base.device.type):
            wanted = self.tokens(original)
        return CodedSquares(
            original, wanted, decoded, F.pad(latent, lack), F.pad(codes, lack), covered, sizes
        )

    def codes(self, square: Tensor, base: Tensor, step: Tensor, width: int, height: int) -> Tensor:
        """Quality codes f32 [B, h, w], by the guidance that the edge runs."""
        importance = self.guidance(square).cpu().numpy()
        rows, columns = -(-height // PATCH), -(-width // PATCH)
        found = []
        for one, code, change in zip(importance, base.tolist(), step.tolist(), strict=True):
            if change == 0:
                found.append(flat_codes(code, width, height))
                continue
            cells = F.adaptive_avg_pool2d(
                torch.from_numpy(one[None, :rows, :columns]),
                (-(-height // MAP_CELL), -(-width // MAP_CELL)),
            )
            levels = quantise_importance(cells[0].numpy(), MAP_LEVELS, MAP_K)
            found.append(LevelMap(levels, MAP_CELL, MAP_LEVELS, change).codes(code, width, height))
        return torch.from_numpy(np.stack(found)).float().to(square.device)

    def tokens(self, square: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings before the first layer and final tokens, [B, 1 + N, D] each."""
        low = self.tower.embeddings(normalise(square))
        if extra is not None:
            low = low + extra
        high = self.tower.encoder(inputs_embeds=self.tower.pre_layrnorm(low)).last_hidden_state
        return low, high


def losses_of(model: Any, coded: CodedSquares, prior: bool = True) -> Losses:
    """Low and high level loss [B] of each picture over what it covers.

    Without `prior` the decoded picture gives way to the tower's mean colour, whose patch embeddings
    are zero.
    """
    low_wanted, high_wanted = coded.wanted
    extra = model.adapter(coded.latent, coded.codes, coded.covered)
    decoded = coded.decoded
    if not prior:
        decoded = torch.tensor(MEAN, device=decoded.device).view(1, 3, 1, 1).expand_as(decoded)
    low, high = model.tokens(decoded, extra)
    weight = F.pad(coded.covered.flatten(1), (1, 0), value=1.0).unsqueeze(2)
    weight = weight / (weight.sum(dim=1, keepdim=True) * low.shape[-1])
    return {
        "low": ((low - low_wanted).float().square() * weight).sum(dim=(1, 2)),
        "high": ((high - high_wanted).float().square() * weight).sum(dim=(1, 2)),
    }


@torch.no_grad()
def validate(model: Any, samples: list[Sample], device: str) -> dict[str, float]:
    """Loss at some qualities with guidance, with and without the adapter."""
    scores = {}
    for code in VALIDATION_CODES:
        base = torch.full((len(samples),), code, device=device)
        coded = model.code(samples, base, torch.full_like(base, 30))
        scores[f"high{code}"] = float(losses_of(model, coded)["high"].mean())
        difference = model.tokens(coded.decoded)[1] - coded.wanted[1]
        scores[f"bare{code}"] = float(difference.square().mean())
    return scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # Here and below: what builds on this module need not train on Scenes, nor have them.
    from training.loop.world import add_world_argument

    add_runner_arguments(parser)
    add_world_argument(parser)
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec run")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the clip run")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=3, help="of the adapter; the paper has one")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--low", type=float, default=LOW, help="weight of the low level loss")
    parser.add_argument("--high", type=float, default=HIGH, help="weight of the high level loss")
    parser.add_argument(
        "--no-prior", action="store_true", help="without the decoded picture, for the ablation"
    )


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged adapter."""
    from training.loop.world import SceneStream
    from training.small_models.clip import load_clip

    options = RunOptions.of(arguments)
    codec, visual = load_codec(arguments.codec), load_clip(arguments.clip).clip.visual
    width = visual.conv1.out_channels
    config = AdapterConfig(
        codec.config.latent_channels, width, visual.grid_size[0], blocks=arguments.blocks
    )
    towers = AdaptedTower(codec, visual, LatentAdapter(config))
    runner = Runner(options, towers, arguments.rate, muon=True)
    towers.set_tower(load_clip(arguments.clip).clip.visual)
    towers.set_codec(load_codec(arguments.codec))
    start = runner.next_scene(20_000_000, arguments.batch)
    stream = SceneStream("train", options.data, start, arguments.worlds)
    held_out = SceneStream("val", options.data).batch(VALIDATION_PICTURES, (SIDE, SIDE))
    generator = torch.Generator().manual_seed(options.seed + runner.steps_ever)

    @torch.no_grad()
    def coded_batches() -> Iterator[tuple[CodedSquares, Tensor]]:
        """With the base codes. Each batch is given out twice (Choi et al., "Faster Neural Network
        Training with Data Echoing", arXiv 1907.05550)."""
        while True:
            samples = stream.batch(arguments.batch, stream.size())
            base, steps = random_qualities(len(samples), generator)
            base = base.to(options.device)
            coded = towers.code(samples, base, steps.to(options.device))
            yield from repeat((coded, base), ECHOES)

    batches = coded_batches()

    def loss_of_step(model: Any, step: int) -> Losses:
        coded, base = next(batches)
        with mixed_precision(options.device):
            losses = losses_of(model, coded, prior=not arguments.no_prior)
        warming = runner.progress < WARM_UP and arguments.low > 0.0 and options.start is None
        high = 0.0 if warming else arguments.high
        loss = (arguments.low * losses["low"] + high * losses["high"]) * balance(base)
        return {"loss": loss.mean(), **{name: each.mean() for name, each in losses.items()}}

    runner.run(
        loss_of_step,
        lambda model: validate(model, held_out, options.device),
        {**adapter_info(config), "prior": not arguments.no_prior},
    )


def adapter_info(config: AdapterConfig) -> dict[str, float]:
    """What a checkpoint has to say for `load_adapter_run` to build the adapter again."""
    return {
        "width": config.width,
        "grid": config.grid,
        "latent": config.latent_channels,
        "blocks": config.blocks,
        "heads": config.heads,
        "leading": config.leading,
        "scale": config.scale,
    }


def load_adapter_run(run: Path) -> LatentAdapter:
    """The averaged adapter of a run of this trainer or of `training tower`, in evaluation mode."""
    state = load_checkpoint(run)
    info = state["info"]
    if "tower" in info:
        return load_tower_run(run)[0]
    more = {name: info[name] for name in ("heads", "leading", "scale") if name in info}
    sizes = (info["latent"], info["width"], info["grid"])
    config = AdapterConfig(*sizes, blocks=info["blocks"], **more)
    adapter = LatentAdapter(config)
    adapter.load_state_dict(part_of(state["average"], "adapter"))
    return adapter.eval()


def saw_the_picture(run: Path) -> bool:
    """Whether a run's adapter was trained beside the decoded picture."""
    return bool(load_checkpoint(run)["info"].get("prior", True))
