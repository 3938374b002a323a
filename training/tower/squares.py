"""Pictures on the square of Scenes' tower, coded so that gradients reach the codec.

What `joint` trains on. `trainer` codes as devices and servers do, for any tower and for the adapter
alone: pixels are then whole numbers, which no gradient passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.level_map import LevelMap, flat_codes, quantise_importance
from shared.nets.adapter import LatentAdapter
from shared.nets.codec import STRIDE, Codec
from shared.nets.entropy import round_through
from shared.nets.guidance import Guidance
from shared.nets.precision import mixed_precision
from shared.nets.rate import Rate
from training.loop.runner import Losses
from training.loop.square import DEVIATION, MEAN, PATCH, SIDE, normalise, pixels
from training.small_models.conversion import convert_tower
from training.tower.qualities import MAP_CELL, MAP_K, MAP_LEVELS

if TYPE_CHECKING:
    from training.loop.world import Sample

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


class JointTower(nn.Module):
    """Codec, adapter and the frozen tower that both learn for."""

    def __init__(self, codec: Codec, visual: nn.Module, adapter: LatentAdapter) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(True)
        self.tower = convert_tower(visual).requires_grad_(False)
        self.guidance = Guidance(visual, MEAN, DEVIATION).requires_grad_(False)
        self.adapter = adapter
        self.rate = Rate()
        self.train()

    def set_tower(self, visual: nn.Module) -> None:
        """Aim at what this tower makes of a picture, whichever a run began with."""
        self.tower.load_state_dict(convert_tower(visual).state_dict())

    def train(self, mode: bool = True) -> JointTower:
        """Codec and adapter train; tower and guidance stay in evaluation mode."""
        super().train(mode)
        for frozen in (self.tower, self.guidance):
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
        importances = self.guidance(square).cpu().numpy()
        rows, columns = -(-height // PATCH), -(-width // PATCH)
        codes = []
        for importance, code, change in zip(importances, base.tolist(), step.tolist(), strict=True):
            if change == 0:
                codes.append(flat_codes(code, width, height))
                continue
            cells = F.adaptive_avg_pool2d(
                torch.from_numpy(importance[None, :rows, :columns]),
                (-(-height // MAP_CELL), -(-width // MAP_CELL)),
            )
            levels = quantise_importance(cells[0].numpy(), MAP_LEVELS, MAP_K)
            codes.append(LevelMap(levels, MAP_CELL, MAP_LEVELS, change).codes(code, width, height))
        return torch.from_numpy(np.stack(codes)).float().to(square.device)

    def tokens(self, square: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings before the first layer and final tokens, [B, 1 + N, D] each."""
        low = self.tower.embeddings(normalise(square))
        if extra is not None:
            low = low + extra
        high = self.tower.encoder(inputs_embeds=self.tower.pre_layrnorm(low)).last_hidden_state
        return low, high


def losses_of(model: Any, coded: CodedSquares) -> Losses:
    """Low and high level loss [B] of each picture over what it covers."""
    low_wanted, high_wanted = coded.wanted
    extra = model.adapter(coded.latent, coded.codes, coded.covered)
    low, high = model.tokens(coded.decoded, extra)
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
