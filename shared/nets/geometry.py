"""Which part of a picture each token of a vision tower looks at, asked of the processor itself.

An image processor scales, crops, pads and cuts into tiles as it likes. Shown a ramp from left to
right, one from top to bottom, white and black, it says where every pixel of its output comes from:

    ramps --image processor--> patches [V, T, 3, p, p] --least squares--> affine map of each view
    latent [C, h, w] --sampled where the tokens look--> [V, C, rows, columns]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shared.level_map import STRIDE

COVERED: Final = 0.02  # share of a patch that shows picture, from which it counts
WHOLE: Final = 0.98  # share of white from which a pixel is all picture


@dataclass(frozen=True)
class Patches:
    """What a tower is given: pixels f32 [V, rows * columns, 3, p, p] of V views.

    order: i64 [rows * columns], the place (row * columns + column) of each patch, None where they
    come row by row.
    """

    pixels: Tensor
    rows: int
    columns: int
    order: Tensor | None = None


@dataclass(frozen=True)
class Geometry:
    """Where the tokens of V views look, row by row.

    centres: f32 [V, rows, columns, 2], x and y in the picture, 0..1; covered: f32 [V, rows,
    columns], 1 where a patch shows picture and 0 where it is padding. step: f32 [V, 2], from one
    token to the next in x and y. seen: share of the picture that some token sees. order: as of
    `Patches`.
    """

    centres: Tensor
    covered: Tensor
    step: Tensor
    seen: float
    order: Tensor | None = None

    def sample(
        self, latents: Tensor, codes: Tensor, width: int, height: int
    ) -> tuple[Tensor, Tensor]:
        """Latents [B, C, h, w] and their codes [B, h, w] where the tokens of the pictures look.

        [B * V, C, rows, columns] and [B * V, rows, columns]. A token that is wider than a latent
        gets the mean of what it covers, about.
        """
        both = torch.cat([latents, codes.unsqueeze(1).to(latents.dtype)], dim=1)
        rows, columns = codes.shape[1:]
        size = torch.tensor([width, height], dtype=torch.float32) / STRIDE
        share = size / torch.tensor([columns, rows])  # of the latent's extent that is picture
        views = []
        for centres, step in zip(self.centres, self.step, strict=True):
            factor = max(1, round(float((step * size).min())))
            pooled = both
            if factor > 1:
                smaller = max(1, round(rows / factor)), max(1, round(columns / factor))
                pooled = F.interpolate(both, smaller, mode="area")
            places = 2 * centres * share - 1
            views.append(
                F.grid_sample(
                    pooled,
                    places.expand(len(pooled), -1, -1, -1).to(pooled),
                    mode="bilinear",
                    padding_mode="border",
                    align_corners=False,
                )
            )
        sampled = torch.stack(views, dim=1).flatten(0, 1)
        return sampled[:, :-1], sampled[:, -1]

    def ordered(self, tokens: Tensor) -> Tensor:
        """Tokens [V, rows * columns, D], row by row, in the order of the tower's own."""
        return tokens if self.order is None else tokens[:, self.order.to(tokens.device)]


def measure(look: Callable[[NDArray[np.uint8]], Patches], height: int, width: int) -> Geometry:
    """The geometry of pictures of a size; `look` is what the processor makes of a picture."""
    ramps = _ramps(height, width)
    shown, white, black = (look(ramp) for ramp in ramps)
    rows, columns = shown.rows, shown.columns
    dark = _in_rows(black)
    span = _in_rows(white) - dark
    share = span / span.amax(dim=(0, 1, 2, 4, 5)).clamp(min=1e-6).view(3, 1, 1)
    share = share.amin(dim=3)  # [V, rows, columns, p, p]
    ramp = (_in_rows(shown) - dark) / span.clamp(min=1e-6)
    side = share.shape[-1]
    inside = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    down = (torch.arange(rows).view(-1, 1, 1, 1) + inside.view(1, 1, -1, 1)).expand(share.shape[1:])
    across = (torch.arange(columns).view(1, -1, 1, 1) + inside).expand(share.shape[1:])
    centres, steps = [], []
    for part, where in zip(ramp, share, strict=True):
        maps = [
            _fit(part[:, :, axis], where, across, down) for axis in (0, 1)
        ]  # x, y = a + b * across + c * down
        grid = torch.stack([torch.ones(rows, columns), *_middles(rows, columns)], dim=-1).double()
        centres.append(grid @ torch.stack(maps, dim=1))
        steps.append(torch.stack([maps[0][1].abs(), maps[1][2].abs()]))
    covered = (share.mean(dim=(3, 4)) > COVERED).float()
    stacked_centres = torch.stack(centres).float()
    return Geometry(
        stacked_centres,
        covered,
        torch.stack(steps).float(),
        _seen(stacked_centres, covered, steps),
        shown.order,
    )


def order_of(
    look: Callable[[NDArray[np.uint8]], Tensor], rows: int, columns: int, patch: int
) -> Tensor:
    """The place of each patch, i64 [rows * columns], of a processor that turns them about.

    look: patches [rows * columns, 3, p, p] of a picture that has exactly their size.
    """
    ramps = _ramps(rows * patch, columns * patch)
    shown, white, black = (look(ramp).mean(dim=(2, 3)) for ramp in ramps)
    place = (shown - black) / (white - black)
    across = (place[:, 0] * columns - 0.5).round().long().clamp(0, columns - 1)
    down = (place[:, 1] * rows - 0.5).round().long().clamp(0, rows - 1)
    return down * columns + across


def _ramps(height: int, width: int) -> tuple[NDArray[np.uint8], ...]:
    """x, y and white in the three channels; white; black; u8 [height, width, 3] each."""
    across = 255 * (np.arange(width) + 0.5) / width
    down = 255 * (np.arange(height) + 0.5)[:, None] / height
    # Dithered, or rounding would bend the ramp of a picture of about 256 pixels by half a pixel.
    dither = (0.7549 * np.arange(width) + 0.5698 * np.arange(height)[:, None]) % 1.0
    shown = np.full((height, width, 3), 255, np.uint8)
    shown[..., 0], shown[..., 1] = across + dither, down + dither
    return shown, np.full_like(shown, 255), np.zeros_like(shown)


def _in_rows(patches: Patches) -> Tensor:
    """f64 [V, rows, columns, 3, p, p]."""
    pixels = patches.pixels.double()
    if patches.order is not None:
        turned = torch.empty_like(pixels)
        turned[:, patches.order] = pixels
        pixels = turned
    return torch.unflatten(pixels, 1, (patches.rows, patches.columns))


def _fit(values: Tensor, share: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """a, b, c of values = a + b * across + c * down, least squares over what is all picture."""
    whole = share >= min(WHOLE, float(share.max()))
    inner = whole & (values > values[whole].min() + 1e-3) & (values < values[whole].max() - 1e-3)
    # Filters repeat the picture's first and last pixels: the ramp is flat there.
    chosen = inner if int(inner.sum()) >= 16 else whole
    known = torch.stack([torch.ones_like(values[chosen]), across[chosen], down[chosen]], dim=1)
    gram = known.T @ known + 1e-9 * torch.eye(3, dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(gram, known.T @ values[chosen])
    return solution


def _middles(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Middles of tokens, [rows, columns] each, across and down."""
    down, across = torch.meshgrid(
        torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij"
    )
    return across, down


def _seen(centres: Tensor, covered: Tensor, steps: list[Tensor]) -> float:
    """Share of a 64x64 raster of the picture that lies in some covered patch."""
    raster = torch.zeros(64, 64, dtype=torch.bool)
    for middle, is_covered, step in zip(centres, covered, steps, strict=True):
        x, y = middle[is_covered > 0].unbind(-1)
        if not len(x):
            continue
        half = step.float() / 2
        left, right = float((x - half[0]).min()), float((x + half[0]).max())
        top, bottom = float((y - half[1]).min()), float((y + half[1]).max())
        rows = slice(max(0, round(64 * top)), max(0, round(64 * bottom)))
        columns = slice(max(0, round(64 * left)), max(0, round(64 * right)))
        raster[rows, columns] = True
    return float(raster.float().mean())
