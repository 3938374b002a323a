"""Train the latent feature adapter: codec and tower frozen, all qualities and level maps at once.

Loss (CoTAM, section 4.3): 0.1 * MSE(patch embeddings) + 1 * MSE(final tokens) against the picture
that was not compressed; the first part of the time trains the low level alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.level_map import LevelMap, flat_codes, quantise_importance
from shared.nets.adapter import AdapterConfig, LatentAdapter
from shared.nets.codec import STRIDE, Codec
from shared.nets.guidance import Guidance
from shared.nets.rate import Rate
from training.clip import load_clip
from training.codec import load_codec
from training.runner import Losses, Runner, RunOptions, add_runner_arguments, load_checkpoint
from training.towers import convert_tower
from training.world import DEVIATION, MEAN, PATCH, SIDE, Sample, SceneStream, normalise, pixels

LOW, HIGH = 0.1, 1.0
WARM_UP = 0.15  # share of the time for the low level alone
HIGHEST_CODE = 140
STEPS = (20, 30, 40)
CELL = 32
K = 0.25  # deviations from the mean to the next level, as in the bundle
VALIDATION_PICTURES = 40
VALIDATION_CODES = (20, 50, 80)


class AdaptedTower(nn.Module):
    """The frozen codec and tower, and the adapter between them."""

    def __init__(self, codec: Codec, visual: nn.Module, adapter: LatentAdapter) -> None:
        super().__init__()
        attention = visual.transformer.resblocks[0].attn
        self.codec = codec.requires_grad_(False)
        self.tower = convert_tower(visual, attention.embed_dim // attention.num_heads)
        self.tower.requires_grad_(False)
        self.guidance = Guidance(visual, MEAN, DEVIATION).requires_grad_(False)
        self.adapter = adapter
        self.rate = Rate()
        self.train()

    def train(self, mode: bool = True) -> AdaptedTower:
        """The adapter trains; the rest stays in evaluation mode."""
        super().train(mode)
        for frozen in (self.codec, self.tower, self.guidance, self.rate):
            frozen.eval()
        return self

    @torch.no_grad()
    def code(self, samples: list[Sample], base: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        """Squares, decoded squares, latents, codes and cover of equally large samples.

        base i64 [B]; step i64 [B] of the level map, 0 for none.
        """
        original = pixels(samples).to(base.device)
        height, width = samples[0].scene.picture.shape[:2]
        codes = self.codes(original, base, step, width, height)
        picture = original[:, :, :height, :width]
        with torch.autocast(base.device.type, torch.bfloat16):
            latent = self.codec.analysis(picture)
        latent, _, _ = self.codec.code_latent(latent.float(), codes, base.float(), self.rate)
        with torch.autocast(base.device.type, torch.bfloat16):
            restored = self.codec.synthesis(latent, codes)
        decoded = original.clone()
        decoded[:, :, :height, :width] = (restored.float().clamp(0, 1) * 255).round() / 255
        grid = SIDE // STRIDE
        lack = (0, grid - codes.shape[-1], 0, grid - codes.shape[-2])
        covered = F.pad(torch.ones_like(codes), lack)
        return original, decoded, F.pad(latent, lack), F.pad(codes, lack), covered

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
                (-(-height // CELL), -(-width // CELL)),
            )
            levels = quantise_importance(cells[0].numpy(), k=K)
            found.append(LevelMap(levels, CELL, 3, change).codes(code, width, height))
        return torch.from_numpy(np.stack(found)).float().to(square.device)

    def tokens(self, square: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings before the first layer and final tokens, [B, 1 + N, D] each."""
        low = self.tower.embeddings(normalise(square))
        if extra is not None:
            low = low + extra
        high = self.tower.encoder(inputs_embeds=self.tower.pre_layrnorm(low)).last_hidden_state
        return low, high


def losses_of(model: Any, coded: tuple[Tensor, ...]) -> Losses:
    """Low and high level loss over what the picture covers, and the same without the adapter."""
    original, decoded, latent, codes, covered = coded
    with torch.no_grad():
        low_wanted, high_wanted = model.tokens(original)
    low, high = model.tokens(decoded, model.adapter(latent, codes, covered))
    weight = F.pad(covered.flatten(1), (1, 0), value=1.0).unsqueeze(2)
    weight = weight / (weight.sum() * low.shape[-1])
    return {
        "low": ((low - low_wanted).float().square() * weight).sum(),
        "high": ((high - high_wanted).float().square() * weight).sum(),
    }


@torch.no_grad()
def validate(model: Any, samples: list[Sample], device: str) -> dict[str, float]:
    """Loss at some qualities with guidance, with and without the adapter."""
    scores = {}
    for code in VALIDATION_CODES:
        base = torch.full((len(samples),), code, device=device)
        coded = model.code(samples, base, torch.full_like(base, 30))
        scores[f"high{code}"] = float(losses_of(model, coded)["high"])
        bare = (*coded[:2], torch.zeros_like(coded[2]), coded[3], torch.zeros_like(coded[4]))
        difference = model.tokens(bare[1])[1] - model.tokens(bare[0])[1]
        scores[f"bare{code}"] = float(difference.square().mean())
    return scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument("--codec", type=Path, required=True, help="folder of the codec run")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the clip run")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged adapter."""
    options = RunOptions.of(arguments)
    codec, visual = load_codec(arguments.codec), load_clip(arguments.clip).clip.visual
    width = visual.conv1.out_channels
    config = AdapterConfig(codec.config.latent_channels, width, visual.grid_size[0])
    runner = Runner(options, AdaptedTower(codec, visual, LatentAdapter(config)), arguments.rate)
    start = 20_000_000 + runner.step * arguments.batch
    stream = SceneStream("train", options.data, start=start)
    held_out = SceneStream("val", options.data).batch(VALIDATION_PICTURES, (SIDE, SIDE))
    generator = torch.Generator().manual_seed(options.seed + runner.step)

    def loss_of_step(model: Any, step: int) -> Losses:
        samples = stream.batch(arguments.batch, stream.size())
        # Squared, so that low rates, where the adapter matters, are seen more often.
        base = torch.rand(len(samples), generator=generator).square() * HIGHEST_CODE
        steps = torch.tensor((0, *STEPS))[
            torch.randint(0, 1 + len(STEPS), (len(samples),), generator=generator)
        ]
        coded = model.code(samples, base.long().to(options.device), steps.to(options.device))
        with torch.autocast(options.device, torch.bfloat16):
            losses = losses_of(model, coded)
        high = HIGH if runner.progress > WARM_UP else 0.0
        return {"loss": LOW * losses["low"] + high * losses["high"], **losses}

    runner.run(
        loss_of_step,
        lambda model: validate(model, held_out, options.device),
        {"width": width, "grid": visual.grid_size[0], "latent": codec.config.latent_channels},
    )


def load_adapter_run(run: Path) -> LatentAdapter:
    """The averaged adapter of a run, in evaluation mode."""
    state = load_checkpoint(run)
    info = state["info"]
    adapter = LatentAdapter(AdapterConfig(info["latent"], info["width"], info["grid"]))
    prefix = "adapter."
    adapter.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)}
    )
    return adapter.eval()
