"""The latent feature adapter, and how Scenes' tower has a picture laid on its square.

CoTAM, section 4.2: the decoded picture goes through the tower's patch embedding as a
reconstruction prior; the adapter's tokens are added to it before the first layer.

    latent [B, C, h, w]  --linear--> tokens --[CLS], positions, blocks--> + patch embeddings
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.coding.integer_layers import KNOTS
from shared.nets.entropy import tent
from shared.nets.start import start_at_zero

LATENT_UNIT = 64.0  # latents are in 8-bit units of an orthonormal transform: tens to hundreds


@dataclass(frozen=True)
class AdapterConfig:
    """latent_channels of the codec; width, heads and grid (tokens a side) of the tower.

    grid: where the tower takes any shape, that of the positions, which are interpolated. blocks:
    transformer blocks; the paper's adapter has one. leading: tokens before those of patches, [CLS].
    scale: what tokens are multiplied with, the size of the tower's patch embeddings.
    """

    latent_channels: int
    width: int
    grid: int
    heads: int = 6
    blocks: int = 1
    leading: int = 1
    scale: float = 1.0


class LatentAdapter(nn.Module):
    """Decoded latents and their quality -> tokens [B, leading + grid^2, width], leading first.

    Starts at zero: an untrained adapter leaves the tower as it is.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.enter = nn.Linear(config.latent_channels + KNOTS, width)
        self.cls = nn.Parameter(torch.zeros(1, config.leading, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, width, config.grid, config.grid))
        blocks = [_block(width, config.heads) for _ in range(config.blocks)]
        for block in blocks[1:]:
            # These start as the identity, so that a trained adapter can be made deeper.
            start_at_zero(block.self_attn.out_proj, block.linear2)
        self.blocks = nn.Sequential(*blocks)
        self.leave = nn.Linear(width, width)
        start_at_zero(self.leave)

    def forward(self, latent: Tensor, codes: Tensor, covered: Tensor) -> Tensor:
        """Tokens for latents [B, C, r, c], codes [B, r, c] and covered [B, r, c] (1 or 0).

        Where nothing is covered, the view is padding and the tokens are zero. A grid other than
        the one of training gets interpolated positions.
        """
        grid = latent.shape[-2:]
        x = torch.cat([latent / LATENT_UNIT, tent(codes)], dim=1) * covered.unsqueeze(1)
        x = self.enter(x.flatten(2).transpose(1, 2).to(self.enter.weight.dtype))
        positions: Tensor = self.positions
        if positions.shape[-2:] != grid:
            positions = F.interpolate(
                positions.float(), grid, mode="bicubic", align_corners=False
            ).to(x.dtype)
        x = x + positions.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        tokens: Tensor = self.leave(self.blocks(x)) * self.config.scale
        mask = F.pad(covered.flatten(1), (self.config.leading, 0), value=1.0).unsqueeze(2)
        return tokens.float() * mask


def _block(width: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width,
        heads,
        4 * width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


@dataclass(frozen=True)
class Placement:
    """Where a picture lies on a square of `side` pixels: top left, scaled to `width` x `height`."""

    side: int
    width: int
    height: int


def place(width: int, height: int, side: int) -> Placement:
    """The picture's long side fills the square's; its aspect is kept."""
    scale = side / max(width, height)
    return Placement(side, max(1, round(width * scale)), max(1, round(height * scale)))


def place_picture(picture: Tensor, at: Placement, fill: Tensor) -> Tensor:
    """The picture [3, H, W] 0..1 on its square [3, side, side]; the rest is `fill` [3]."""
    if picture.shape[-2:] != (at.height, at.width):
        resized = F.interpolate(
            picture.unsqueeze(0), (at.height, at.width), mode="bicubic", antialias=True
        )
        picture = resized.squeeze(0).clamp(0.0, 1.0)
    square = fill.view(3, 1, 1).expand(3, at.side, at.side).clone()
    square[:, : at.height, : at.width] = picture
    return square


def save_adapter(adapter: LatentAdapter, path: Path) -> None:
    """Write `adapter.safetensors`, self-describing, in float16."""
    tensors = {k: v.detach().half().contiguous() for k, v in adapter.state_dict().items()}
    save_file(tensors, str(path), metadata={"config": json.dumps(asdict(adapter.config))})


def load_adapter(path: Path) -> LatentAdapter:
    """Read `adapter.safetensors`; the network comes back in float32, in evaluation mode."""
    with safe_open(str(path), framework="pt") as file:
        config = AdapterConfig(**json.loads(file.metadata()["config"]))
    adapter = LatentAdapter(config)
    adapter.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    return adapter.eval()
