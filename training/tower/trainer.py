"""Train the latent feature adapter for the vision tower of any model; no labels, codec frozen.

    photograph --codec, at random qualities and level maps--> latent, decoded picture
    decoded picture --the model's processor--> tower, adapter's tokens added --> what it reads

Loss (CoTAM, section 4.3): 0.1 * low + 1 * high, each the squared error against the picture that was
not compressed over the variance there: low of the patch embeddings, high of what the model's
projector reads, over the tokens that see the picture. The first part of the time trains the low
level alone.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError
from shared.level_map import STRIDE, LevelMap, cell_shape, flat_codes, quantise_importance
from shared.nets.adapter import AdapterConfig, LatentAdapter
from shared.nets.codec import Codec
from shared.nets.fast_synthesis import FastSynthesis, dtype_of
from shared.nets.guidance import TowerGuidance
from shared.nets.model_files import load_vision
from shared.nets.precision import mixed_precision
from shared.nets.processed import Inputs, Picture
from shared.nets.rate import Rate
from shared.nets.vision import Vision
from shared.tower import TowerSpec, same_tower
from training.codec.restore import restore_codec
from training.loop.runner import Losses, Runner, RunOptions, add_runner_arguments
from training.tower.memory import require_memory
from training.tower.photographs import Photographs
from training.tower.qualities import balance, random_qualities
from training.tower.runs import adapter_info, load_adapter_run

LOW, HIGH = 0.1, 1.0
WARM_UP = 0.15  # share of the time for the low level alone, of an adapter that knows nothing
ECHOES = 4  # steps on each coded batch: reading and coding it takes longer than a step
POOL = 32  # echoes from which the next step draws, so that those of a batch lie apart
MOST_HEADS_WIDE = 64  # of the adapter's attention, a head
SEEN_ENOUGH = 0.6  # share of a picture that a processor should leave
VALIDATION_PICTURES = 8
VALIDATION_CODES = (20, 50, 80)
VALIDATION_STEP = 30  # of the level map
SCALED_BY = 8  # pictures that tell how large the patch embeddings are
POSITIONS: Final = 16  # a side, of the adapter of a tower that takes any shape

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class CodedPictures:
    """Pictures of one size before and after the codec: what the tower reads of both, and what the
    adapter gets: latents [B, C, h, w], codes [B, h, w]. wanted: low and high of the original."""

    wanted: tuple[Tensor, Tensor]
    decoded: Sequence[Inputs]
    latents: Tensor
    codes: Tensor
    height: int
    width: int


def echoed(batches: Iterator[T], chance: np.random.Generator) -> Iterator[T]:
    """Each of the batches `ECHOES` times, in an order mixed over `POOL` of them (Choi et al.,
    "Faster Neural Network Training with Data Echoing", arXiv 1907.05550)."""
    waiting: list[T] = []
    for given, batch in enumerate(batches, 1):
        waiting += [batch] * ECHOES
        # The pool grows as it is filled: the first step need not wait until it is full.
        while len(waiting) > min(POOL, (ECHOES - 1) * given):
            yield waiting.pop(int(chance.integers(len(waiting))))


class TowerTraining:
    """The frozen codec and tower beside an adapter that learns.

    guidance: None for a tower that takes any shape; level maps are then drawn at random. prior:
    whether the tower sees the decoded picture beside the adapter's tokens, or its mean colour.
    """

    def __init__(self, bundle: Bundle, vision: Vision, prior: bool = True) -> None:
        self.vision = vision
        self.prior = prior
        self.fill = vision.spec().fill
        self.settings = bundle.manifest.guidance
        self.codec: Codec = restore_codec(bundle).to(vision.device).requires_grad_(False)
        # As the server restores pictures, in a quarter of the time.
        dtype = dtype_of("auto", vision.device)
        self.synthesis = FastSynthesis(self.codec.synthesis, dtype)
        self.rate = Rate().to(vision.device).eval()
        vision.base.requires_grad_(False)
        self.guidance = None if vision.grid is None else TowerGuidance(vision)

    @torch.no_grad()
    def code(
        self,
        pictures: Sequence[Picture],
        base: Tensor,
        step: Tensor,
        chance: np.random.Generator,
        wanted: tuple[Tensor, Tensor] | None = None,
    ) -> CodedPictures:
        """Pictures u8 of one size, coded at base codes i64 [B]; step i64 [B] of the level map.

        wanted: what `read` said of the pictures, where that is known.
        """
        device = self.vision.device
        height, width = pictures[0].shape[:2]
        planes = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float() / 255
        lack = (0, -width % STRIDE, 0, -height % STRIDE)
        codes = self._codes(planes, base, step, chance)
        with mixed_precision(device.type):
            latents = self.codec.analysis(F.pad(planes, lack, mode="replicate"))
        latents, _, _ = self.codec.code_latent(
            latents.float(), codes, base.to(device).float(), self.rate
        )
        restored = self.synthesis(latents, codes)[:, :, :height, :width].clamp(0, 1) * 255
        decoded = restored.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        if not self.prior:
            decoded[:] = self.fill
        inputs = [self.vision.inputs(np.ascontiguousarray(picture)) for picture in decoded]
        return CodedPictures(wanted or self.read(pictures), inputs, latents, codes, height, width)

    @torch.no_grad()
    def read(self, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """Low and high level of pictures u8 of one size, see `Vision.levels`."""
        with mixed_precision(self.vision.device.type):
            return self.vision.levels([self.vision.inputs(picture) for picture in pictures])

    def losses(self, adapter: LatentAdapter | None, coded: CodedPictures) -> Losses:
        """Low and high level loss [B], each over the variance of what is wanted."""
        tokens = None
        if adapter is not None:
            size = coded.height, coded.width
            tokens = self.vision.adapt(adapter, coded.latents, coded.codes, *size)
        levels = self.vision.levels(coded.decoded, tokens)
        covered = self._covered(coded)
        count = len(coded.latents)
        return {
            name: _relative(level.float(), wanted.float(), covered, count)
            for name, level, wanted in zip(("low", "high"), levels, coded.wanted, strict=True)
        }

    def embedding_scale(self, pictures: Sequence[Picture]) -> float:
        """Root mean square of the patch embeddings' deviation from their mean."""
        lows = []
        with torch.no_grad():
            for picture in pictures:
                low = self.vision.patch_embeddings([self.vision.inputs(picture)])
                patches = low.float().flatten(0, -2)
                lows.append(float((patches - patches.mean(dim=0)).square().mean()))
        return float(np.sqrt(np.mean(lows)))

    def _covered(self, coded: CodedPictures) -> Tensor:
        """1 where a token sees the picture, [B * V, T] (of a tower without views [B, N])."""
        geometry = self.vision.geometry(coded.height, coded.width)
        covered = geometry.ordered(geometry.covered.flatten(1).unsqueeze(2)).squeeze(2)
        return covered.repeat(len(coded.latents), 1).to(coded.latents.device)

    def _codes(
        self, planes: Tensor, base: Tensor, step: Tensor, chance: np.random.Generator
    ) -> Tensor:
        """Quality codes f32 [B, h, w], by guidance where there is some."""
        height, width = planes.shape[-2:]
        cells = cell_shape(width, height, self.settings.cell)
        importances = chance.random((len(planes), *cells), np.float32)
        if self.guidance is not None and bool((step > 0).any()):
            importances = self._importance(planes, cells)
        codes = []
        for importance, code, change in zip(importances, base.tolist(), step.tolist(), strict=True):
            if change == 0:
                codes.append(flat_codes(code, width, height))
                continue
            levels = quantise_importance(importance, self.settings.levels, self.settings.k)
            level_map = LevelMap(levels, self.settings.cell, self.settings.levels, change)
            codes.append(level_map.codes(code, width, height))
        return torch.from_numpy(np.stack(codes)).float().to(planes.device)

    def _importance(self, planes: Tensor, cells: tuple[int, int]) -> Any:
        """f32 [B, rows, columns] of cells, the picture in the corner of the tower's square."""
        assert self.guidance is not None
        side, grid = self.guidance.side, self.guidance.grid
        scale = side / max(planes.shape[-2:])
        height, width = (max(1, round(length * scale)) for length in planes.shape[-2:])
        square = self.guidance.mean.expand(len(planes), 3, side, side).clone()
        square[:, :, :height, :width] = F.interpolate(
            planes, (height, width), mode="bilinear", antialias=True
        )
        rows, columns = (-(-length * grid // side) for length in (height, width))
        importance = self.guidance(square)[:, None, :rows, :columns]
        return F.adaptive_avg_pool2d(importance, cells)[:, 0].cpu().numpy()


def _relative(output: Tensor, wanted: Tensor, covered: Tensor, count: int) -> Tensor:
    """Squared error over variance [B] of tokens [..., D] of `count` pictures."""
    weight = torch.ones(wanted.shape[:-1], device=wanted.device)
    if wanted.dim() == 3 and wanted.shape[1] >= covered.shape[1]:
        leading = wanted.shape[1] - covered.shape[1]
        weight = F.pad(covered, (leading, 0), value=1.0)
    error = (output - wanted).square().mean(dim=-1)
    total = weight.reshape(count, -1).sum(dim=1)
    tokens = wanted.flatten(0, -2)
    weights = weight.flatten().unsqueeze(1)
    mean = (tokens * weights).sum(dim=0) / weights.sum()
    variance = ((tokens - mean).square() * weights).sum() / (weights.sum() * tokens.shape[1])
    return (error * weight).reshape(count, -1).sum(dim=1) / total / variance.clamp(min=1e-12)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument("--mllm", required=True, help="folder or hub id of the model")
    parser.add_argument("--bundle", default="tiny", help="whose codec: embedded name or folder")
    parser.add_argument("--batch", type=int, default=2, help="pictures a step")
    parser.add_argument(
        "--blocks", type=int, help="of the adapter (default: those of --start, or the paper's one)"
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument(
        "--resolution", type=int, help="long side in pixels to code at (default: the tower's own)"
    )
    parser.add_argument("--low", type=float, default=LOW, help="weight of the low level loss")
    parser.add_argument("--high", type=float, default=HIGH, help="weight of the high level loss")
    parser.add_argument(
        "--no-prior", action="store_true", help="without the decoded picture, for the ablation"
    )


def main(arguments: argparse.Namespace) -> None:
    """Train; the run's checkpoint holds the averaged adapter and the tower's description."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    options = RunOptions.of(arguments)
    bundle = open_bundle(arguments.bundle)
    photographs = Photographs(options.data, "train")
    held_out = Photographs(options.data, "val")
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    require_memory(arguments.mllm, device, dtype, arguments.batch)
    vision = load_vision(arguments.mllm, device, dtype)
    _follow(vision, bundle)
    resolution = arguments.resolution or vision.resolution()
    training = TowerTraining(bundle, vision, not arguments.no_prior)
    validation = list(held_out.first(VALIDATION_PICTURES, resolution))
    if not validation:
        raise UsageError(
            f"none of the photographs kept for validation can be read: {held_out.files[0]}"
        )
    warn_of_crops(vision, validation)
    spec = vision.spec()
    scale = training.embedding_scale(validation[:SCALED_BY])
    adapter = new_adapter(bundle, spec, arguments.blocks or 1, scale)
    if options.start is not None:
        adapter = LatentAdapter(_config_of(options.start, adapter.config, arguments.blocks))
    runner = Runner(options, adapter, arguments.rate, muon=True)
    chance = np.random.default_rng(options.seed + runner.steps_ever)
    generator = torch.Generator().manual_seed(options.seed + runner.steps_ever)

    def coded_batches() -> Iterator[tuple[CodedPictures, Tensor]]:
        while True:
            size = photographs.size(resolution, chance)
            pictures = photographs.crops(arguments.batch, *size, chance)
            base, steps = random_qualities(len(pictures), generator)
            yield training.code(pictures, base, steps, chance), base

    batches = echoed(coded_batches(), chance)

    def loss_of_step(model: nn.Module, step: int) -> Losses:
        coded, base = next(batches)
        with mixed_precision(device.type):
            losses = training.losses(adapter, coded)
        warming = runner.progress < WARM_UP and options.start is None and arguments.low > 0.0
        high = 0.0 if warming else arguments.high
        loss = (arguments.low * losses["low"] + high * losses["high"]) * balance(base.to(device))
        return {"loss": loss.mean(), **{name: each.mean() for name, each in losses.items()}}

    runner.run(
        loss_of_step,
        lambda model: validate(training, adapter, validation),
        {
            "mllm": arguments.mllm,
            "codec": bundle.codec_id.hex(),
            "resolution": resolution,
            "tower": spec.model_dump(mode="json"),
            "prior": training.prior,
            **adapter_info(adapter.config),
        },
    )
    if photographs.skipped or held_out.skipped:
        count = len(photographs.skipped) + len(held_out.skipped)
        log.warning("%d photographs were left out; they are named above", count)


@torch.no_grad()
def validate(
    training: TowerTraining, adapter: LatentAdapter, pictures: Sequence[Picture]
) -> dict[str, float]:
    """High level loss at some qualities with guidance, with ("high") and without ("bare")."""
    pairs: dict[int, list[list[float]]] = {code: [] for code in VALIDATION_CODES}
    for number, picture in enumerate(pictures):
        wanted = training.read([picture])
        for code, losses in pairs.items():
            chance, step = np.random.default_rng(number), torch.tensor([VALIDATION_STEP])
            coded = training.code([picture], torch.tensor([code]), step, chance, wanted)
            with mixed_precision(training.vision.device.type):
                both = [training.losses(used, coded)["high"] for used in (adapter, None)]
            losses.append([float(loss) for loss in both])
    scores: dict[str, float] = {}
    for code, losses in pairs.items():
        scores[f"high{code}"], scores[f"bare{code}"] = np.mean(losses, axis=0).tolist()
    return scores


def warn_of_crops(vision: Vision, pictures: Sequence[Picture]) -> None:
    """Log a warning where the processor leaves less than `SEEN_ENOUGH` of one of the pictures."""
    seen = [vision.geometry(*picture.shape[:2]).seen for picture in pictures]
    if min(seen) < SEEN_ENOUGH:
        log.warning(
            "the model's own processor cuts pictures: of one that is kept for validation it shows "
            "%d %%; what it cuts off is coded for nothing",
            round(100 * min(seen)),
        )


def new_adapter(bundle: Bundle, spec: TowerSpec, blocks: int, scale: float) -> LatentAdapter:
    """An untrained adapter from the bundle's latents to the tower's tokens; see AdapterConfig."""
    return LatentAdapter(
        AdapterConfig(
            bundle.manifest.codec.latent_channels,
            spec.width,
            spec.grid or POSITIONS,
            heads_of(spec.width),
            blocks,
            spec.leading,
            scale,
        )
    )


def _config_of(start: Path, wanted: AdapterConfig, blocks: int | None) -> AdapterConfig:
    """That of a run's adapter, whose weights mean nothing in another, with so many `blocks`.

    Raises UsageError where it is for another tower or codec than `wanted`.
    """
    config = load_adapter_run(start).config
    for name in ("latent_channels", "width", "grid", "leading"):
        was, must = getattr(config, name), getattr(wanted, name)
        if was != must:
            raise UsageError(f"the adapter of {start} has {name} {was}, and {must} is needed")
    return replace(config, blocks=blocks or config.blocks)


def heads_of(width: int) -> int:
    """Heads of the adapter's attention: the fewest of at most 64 numbers that divide the width."""
    return next(n for n in range(-(-width // MOST_HEADS_WIDE), width + 1) if width % n == 0)


def _follow(vision: Vision, bundle: Bundle) -> None:
    """Lay pictures out as the bundle does where the tower is its own."""
    if same_tower(bundle.manifest.tower.fingerprint, vision.fingerprint):
        vision.layout = bundle.manifest.tower.layout
