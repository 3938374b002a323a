"""Scenes as training batches: pictures as the tower sees them, with what is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scenes import Backgrounds, Scene, Split, render

SIDE = 256
PATCH = 16
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of CLIP's pictures (open_clip `OPENAI_DATASET_MEAN` and `_STD`)."""

OTHER_SHAPES = ((256, 192), (192, 256), (256, 160), (160, 256), (256, 224), (224, 256))
OTHER_SHARE = 0.2
TIMES = (2, 3, 4)


@dataclass(frozen=True)
class Sample:
    """A scene on the tower's square: `picture` u8 [256, 256, 3], labels i64 [16, 16] by name."""

    scene: Scene
    picture: NDArray[np.uint8]
    labels: dict[str, NDArray[np.int64]]


class BusierBackgrounds(Backgrounds):
    """Each photograph twice: as it is, and reduced to a half, third or quarter, side by side.

    Photographs of short side 300 are soft at the size of a scene; walls of brick, gravel and coins
    are not, and count and colour of what lies on them have to be learnt as well.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        super().__init__((*paths, *paths))

    def photograph(self, index: int) -> NDArray[np.uint8]:
        """Photograph ``index``, u8 [H, W, 3]; those of the second half are mosaics."""
        whole = super().photograph(index % (len(self) // 2))
        if index < len(self) // 2:
            return whole
        times = TIMES[index % len(TIMES)]
        picture = Image.fromarray(whole)
        small = picture.resize(
            (picture.width // times, picture.height // times), Image.Resampling.BOX
        )
        return np.tile(np.asarray(small), (times, times, 1))


class SceneStream:
    """Scenes of a split in index order, a share of them not square.

    A picture that is not square lies in the top left corner of the tower's square, the rest filled
    with the mean colour, as the cloud places it.
    """

    def __init__(self, split: Split, photographs: Path, start: int = 0) -> None:
        part = "val" if split == "val" else "train"
        self.split: Split = split
        kind = Backgrounds if split == "val" else BusierBackgrounds
        self.backgrounds = kind.from_folder(photographs, part)
        self.index = start

    def size(self) -> tuple[int, int]:
        """Width and height of the next scene, if nobody asks for others."""
        chance = np.random.default_rng(self.index)
        if chance.random() < OTHER_SHARE:
            return OTHER_SHAPES[int(chance.integers(len(OTHER_SHAPES)))]
        return SIDE, SIDE

    def sample(self, size: tuple[int, int] | None = None) -> Sample:
        """The next scene, of the given width and height where it is given."""
        size = size or self.size()
        scene = render(self.split, self.index, self.backgrounds, size)
        self.index += 1
        square = np.empty((SIDE, SIDE, 3), np.uint8)
        square[:] = np.round(255 * np.array(MEAN))
        square[: size[1], : size[0]] = scene.picture
        labels = {}
        for name, values in scene.patch_labels(PATCH).items():
            labels[name] = np.zeros((SIDE // PATCH, SIDE // PATCH), np.int64)
            labels[name][: values.shape[0], : values.shape[1]] = values
        return Sample(scene, square, labels)

    def batch(self, count: int, size: tuple[int, int] | None = None) -> list[Sample]:
        """The next `count` scenes."""
        return [self.sample(size) for _ in range(count)]


def pixels(samples: list[Sample]) -> Tensor:
    """f32 [B, 3, 256, 256] in 0..1."""
    stacked = np.stack([sample.picture for sample in samples])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div_(255.0)


def normalise(picture: Tensor) -> Tensor:
    """Pictures 0..1 as the tower takes them."""
    mean = torch.tensor(MEAN, device=picture.device).view(1, 3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=picture.device).view(1, 3, 1, 1)
    return (picture - mean) / deviation
