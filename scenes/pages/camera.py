"""From a flat sheet to a picture: scanned, or photographed in front of something.

sheet --creases--> bent sheet --perspective--> picture at twice its size --light, shadow-->
reduced --sharpness, noise--> picture; the quads of the print go the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from scenes.pages.page import Line

Floats = npt.NDArray[np.float64]

OVER: Final = 2
"""Photographs are taken so many times too large and reduced: the cheapest good anti-aliasing."""

GRID: Final = 12
"""Cells of the bent sheet along each side."""


def photograph(
    rng: np.random.Generator,
    sheet: Image.Image,
    lines: Sequence[Line],
    behind: Image.Image,
    corners: Floats,
    scale: int,
    creased: bool,
) -> tuple[Image.Image, tuple[Line, ...]]:
    """The sheet lying on `behind` with its corners at `corners` [4, 2], in pixels of `behind`.

    `scale` is that of the sheet. Returns the picture, of the size of `behind`, and its lines.
    """
    wide, high = sheet.width / scale, sheet.height / scale
    flat = np.array([(0, 0), (wide, 0), (wide, high), (0, high)], np.float64)
    there = _homography(flat, corners)
    bend = _Bend(rng, wide, high) if creased else None
    if bend is not None:
        sheet = bend.apply(sheet, scale)
        lines = [_moved(line, bend.forward) for line in lines]
    size = (behind.width * OVER, behind.height * OVER)
    back = _homography(corners * OVER, flat * scale)
    coefficients = (back / back[2, 2]).ravel()[:8].tolist()
    taken = sheet.transform(
        size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC
    ).reduce(OVER)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(float(x) * OVER, float(y) * OVER) for x, y in corners], 255)
    mask = mask.reduce(OVER)
    picture = behind.copy()
    _cast(rng, picture, mask)
    picture.paste(taken, (0, 0), mask)
    return picture, tuple(_moved(line, lambda points: _through(there, points)) for line in lines)


def light(rng: np.random.Generator, picture: Image.Image, shadow: bool) -> Image.Image:
    """Uneven light over the picture, with a soft shadow across it or not."""
    width, height = picture.size
    small = (max(2, width // 8), max(2, height // 8))
    x, y = np.meshgrid(np.linspace(-1, 1, small[0]), np.linspace(-1, 1, small[1]))
    angle = rng.uniform(0, 2 * np.pi)
    level = 1 + rng.uniform(0, 0.16) * (x * np.cos(angle) + y * np.sin(angle))
    level -= rng.uniform(0, 0.12) * (x**2 + y**2) / 2
    if shadow:
        angle = rng.uniform(0, 2 * np.pi)
        edge = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.5, 0.5)
        level *= 1 - rng.uniform(0.15, 0.45) / (1 + np.exp(-edge * rng.uniform(6, 30)))
    field = np.asarray(
        Image.fromarray(level.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    )
    cast = 1 + rng.normal(0, 0.025, 3)
    lit = np.asarray(picture, np.float32) * field[:, :, None] * cast.astype(np.float32)
    return Image.fromarray(np.clip(lit + 0.5, 0, 255).astype(np.uint8))


def sensor(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """A little softness and a little noise, as any camera or scanner adds."""
    softness = rng.uniform(0, 0.6)
    if softness > 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(softness))
    grain = rng.uniform(0, 3.5)
    if grain < 0.7:
        return picture
    noise = rng.normal(0, grain, (picture.height, picture.width, 1)).astype(np.float32)
    noisy = np.asarray(picture, np.float32) + noise
    return Image.fromarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))


class _Bend:
    """A sheet that was folded and crumpled: its points move by a few pixels, its slopes shade."""

    def __init__(self, rng: np.random.Generator, wide: float, high: float) -> None:
        self.wide, self.high = wide, high
        self.waves = [
            (
                rng.uniform(0, 2 * np.pi),
                rng.uniform(0.4, 1.6) * 2 * np.pi / max(wide, high),
                rng.uniform(0, 2 * np.pi),
                rng.uniform(0.3, 1.0) * min(wide, high) / 220,
            )
            for _ in range(int(rng.integers(2, 5)))
        ]
        self.folds = [
            (rng.uniform(0, np.pi), rng.uniform(0.25, 0.75), rng.uniform(-0.1, 0.1))
            for _ in range(int(rng.integers(0, 4)))
        ]

    def shift(self, points: Floats) -> Floats:
        """How far the points [N, 2] of the bent sheet lie from where they lay on the flat one."""
        moved = np.zeros_like(points)
        for angle, frequency, phase, amplitude in self.waves:
            along = points @ np.array([np.cos(angle), np.sin(angle)])
            push = amplitude * np.sin(frequency * along + phase)
            moved += push[:, None] * np.array([-np.sin(angle), np.cos(angle)])
        x, y = points[:, 0] / self.wide, points[:, 1] / self.high
        margin = np.clip(16 * np.minimum(x * (1 - x), y * (1 - y)), 0, 1)  # edges stay straight
        bent: Floats = moved * margin[:, None]
        return bent

    def forward(self, points: Floats) -> Floats:
        """Where points of the flat sheet lie on the bent one."""
        return points + self.shift(points)

    def apply(self, sheet: Image.Image, scale: int) -> Image.Image:
        """The bent sheet, shaded."""
        xs = [round(sheet.width * i / GRID) for i in range(GRID + 1)]
        ys = [round(sheet.height * i / GRID) for i in range(GRID + 1)]
        knots = np.array([(x, y) for y in ys for x in xs], float)
        source = (knots - scale * self.shift(knots / scale)).reshape(GRID + 1, GRID + 1, 2)
        mesh = [
            (
                (xs[i], ys[j], xs[i + 1], ys[j + 1]),
                tuple(
                    float(v)
                    for at in ((j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1))
                    for v in source[at]
                ),
            )
            for j in range(GRID)
            for i in range(GRID)
        ]
        bent = sheet.transform(
            sheet.size,
            Image.Transform.MESH,
            mesh,
            Image.Resampling.BICUBIC,
        )
        return Image.fromarray(
            np.clip(
                np.asarray(bent, np.float32) * self._shade(sheet.size)[:, :, None], 0, 255
            ).astype(np.uint8)
        )

    def _shade(self, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        small = (max(2, size[0] // 8), max(2, size[1] // 8))
        x, y = np.meshgrid(np.linspace(0, 1, small[0]), np.linspace(0, 1, small[1]))
        level = np.ones_like(x)
        for angle, frequency, phase, _ in self.waves:
            along = x * self.wide * np.cos(angle) + y * self.high * np.sin(angle)
            level += 0.035 * np.cos(frequency * along + phase)
        for angle, offset, depth in self.folds:
            across = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) - (offset - 0.5)
            level += depth * np.tanh(across * 60) * np.exp(-((across * 5) ** 2))
        field = Image.fromarray(level.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(field)


def _cast(rng: np.random.Generator, picture: Image.Image, mask: Image.Image) -> None:
    """Darkens `picture` beside the sheet, where its shadow falls."""
    reach = max(2, min(picture.size) // 60)
    shade = Image.new("L", picture.size)
    at = (int(rng.integers(-reach, reach + 1)), int(rng.integers(0, reach + 1)))
    shade.paste(mask, at)
    shade = shade.filter(ImageFilter.GaussianBlur(reach)).point(lambda v: int(v * 0.55))
    picture.paste((0, 0, 0), (0, 0), shade)


def _homography(source: Floats, target: Floats) -> Floats:
    """The 3x3 matrix that takes four points [4, 2] to four others."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solved = np.linalg.solve(np.array(rows), target.reshape(-1))
    return np.append(solved, 1.0).reshape(3, 3)


def _through(matrix: Floats, points: Floats) -> Floats:
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def _moved(line: Line, move: Callable[[Floats], Floats]) -> Line:
    """The line with its quad moved, and its size as its height changes."""
    before = np.array(line.quad)
    after = move(before)
    grown = _height(after) / max(_height(before), 1e-6)
    first, second, third, fourth = ((float(x), float(y)) for x, y in after)
    return replace(line, quad=(first, second, third, fourth), size=line.size * grown)


def _height(quad: Floats) -> float:
    sides = np.linalg.norm(quad[3] - quad[0]) + np.linalg.norm(quad[2] - quad[1])
    return float(sides) / 2
