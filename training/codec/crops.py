"""What the codec learns from: crops of photographs, of Scenes and of Pages, each a share.

Scenes and Pages are drawn on the same photographs: flat colours and print are rare in those. They
are imported where they are drawn: whoever trains on photographs alone may have neither.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.errors import UsageError
from training.loop.pictures import photographs, random_crop
from training.loop.square import SIDE

if TYPE_CHECKING:
    from scenes import Split
    from scenes.pages import PageSplit
    from training.loop.world import SceneStream

PAGE_SIZES: Final = ((256, 256), (384, 320), (320, 448), (512, 384), (640, 480))
SHRUNK: Final = (0.6, 1.0)
"""Half of the pages are shrunk by so much: who looks at a page has seldom all of its pixels."""
CROPS_OF_A_PAGE: Final = 3  # drawing one takes as long as a tenth of a step

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shares:
    """Of all crops, those of Scenes and those of Pages; the others are of photographs."""

    scenes: float
    pages: float

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Shares:
        return cls(arguments.scenes, arguments.pages)


def add_mixture_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what a step sees."""
    parser.add_argument("--scenes", type=float, default=0.25, help="share of crops of Scenes")
    parser.add_argument("--pages", type=float, default=0.4, help="share of crops of Pages")
    parser.add_argument(
        "--before",
        type=float,
        default=0.25,
        help="share of steps whose reader has a coarser picture or the frame before",
    )


class PageStream:
    """Pages of a split in index order, u8 [H, W, 3] each."""

    def __init__(self, split: PageSplit, photos: Path, start: int = 0) -> None:
        from scenes import Backgrounds
        from scenes.pages import Fonts

        self._split: PageSplit = split
        try:
            self._fonts = Fonts.pinned()
        except ValueError as error:
            raise UsageError(str(error), hint="or train without pages: --pages 0") from error
        part: Literal["train", "val"] = "val" if split == "val" else "train"
        self._backgrounds = Backgrounds.from_folder(photos, part)
        self._index = start

    def page(self, size: tuple[int, int]) -> Picture:
        """The next page, of the given width and height."""
        from scenes.pages import render_page

        page = render_page(self._split, self._index, self._fonts, self._backgrounds, size)
        self._index += 1
        return page.picture

    def crops(self, side: int, rng: np.random.Generator) -> Iterator[Picture]:
        """Endless crops [side, side, 3], a few of each page."""
        while True:
            picture = self.page(PAGE_SIZES[rng.integers(len(PAGE_SIZES))])
            if rng.random() < 0.5:
                picture = _shrunk(picture, rng.uniform(*SHRUNK), side)
            for _ in range(CROPS_OF_A_PAGE):
                # Print is not mirrored.
                top, left = (rng.integers(n - side + 1) for n in picture.shape[:2])
                yield picture[top : top + side, left : left + side]


def _shrunk(picture: Picture, scale: float, least: int) -> Picture:
    height, width = picture.shape[:2]
    size = max(least, round(scale * width)), max(least, round(scale * height))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def scene_stream(split: Split, data: Path, start: int = 0) -> SceneStream:
    """Scenes of all versions in turn."""
    from scenes import WORLDS
    from training.loop.world import SceneStream

    return SceneStream(split, data, start, tuple(WORLDS))


def batches(
    photos: list[Picture],
    scenes: SceneStream | None,
    pages: PageStream | None,
    shares: Shares,
    batch: int,
    side: int,
    rng: np.random.Generator,
) -> Iterator[Tensor]:
    """Endless f32 [B, 3, side, side] in 0..1."""
    of_pages = iter(()) if pages is None else pages.crops(side, rng)

    def crop() -> Picture:
        drawn = rng.random()
        if drawn < shares.pages:
            return next(of_pages)
        if scenes is not None and drawn < shares.pages + shares.scenes:
            return random_crop([scenes.sample((SIDE, SIDE)).picture], side, rng)
        return random_crop(photos, side, rng)

    while True:
        crops = np.stack([crop() for _ in range(batch)])
        yield torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(255.0)


def training_batches(
    data: Path,
    shares: Shares,
    batch: int,
    side: int,
    rng: np.random.Generator,
    next_of: Callable[[int], int],
    first: int,
) -> Iterator[Tensor]:
    """`batches` of the training splits; next_of(first): the scene and page that nobody saw yet."""
    start = next_of(first)
    scenes = scene_stream("train", data, start) if shares.scenes else None
    pages = PageStream("train", data, start) if shares.pages else None
    return batches(photographs(data, "train"), scenes, pages, shares, batch, side, rng)
