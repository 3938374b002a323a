"""Scenes as training batches: pictures as the tower sees them, with what is true of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scenes import COLOURS, KINDS, VERSION, WORLDS, Backgrounds, Scene, Split, render
from training.loop.square import MEAN, PATCH, SIDE

T = TypeVar("T", bound=np.generic)

OTHER_SHAPES = ((256, 192), (192, 256), (256, 160), (160, 256), (256, 224), (224, 256))
OTHER_SHARE = 0.2
TIMES = (2, 3, 4)


@dataclass(frozen=True)
class Sample:
    """A scene on the tower's square: `picture` u8 [256, 256, 3], labels i64 [16, 16] by name.

    `shares` f32 [objects, 16, 16]: where each object shows, as `Scene.patch_shares`.
    """

    scene: Scene
    picture: NDArray[np.uint8]
    labels: dict[str, NDArray[np.int64]]
    shares: NDArray[np.float32]


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
    """Scenes of a split in index order, of versions in turn, a share of them not square.

    A picture that is not square lies in the top left corner of the tower's square, the rest filled
    with the mean colour, as the cloud places it.
    """

    def __init__(
        self, split: Split, photographs: Path, start: int = 0, versions: Sequence[int] = (VERSION,)
    ) -> None:
        part: Literal["train", "val"] = "val" if split == "val" else "train"
        self.split: Split = split
        kind = Backgrounds if split == "val" else BusierBackgrounds
        self.backgrounds = kind.from_folder(photographs, part)
        self.index = start
        self.versions = versions

    def size(self) -> tuple[int, int]:
        """Width and height of the next scene, if nobody asks for others."""
        chance = np.random.default_rng(self.index)
        if chance.random() < OTHER_SHARE:
            return OTHER_SHAPES[int(chance.integers(len(OTHER_SHAPES)))]
        return SIDE, SIDE

    def sample(self, size: tuple[int, int] | None = None) -> Sample:
        """The next scene, of the given width and height where it is given."""
        size = size or self.size()
        version = self.versions[self.index % len(self.versions)]
        scene = render(self.split, self.index, self.backgrounds, size, version)
        self.index += 1
        square = np.empty((SIDE, SIDE, 3), np.uint8)
        square[:] = np.round(255 * np.array(MEAN))
        square[: size[1], : size[0]] = scene.picture
        labels = {name: _on_square(v) for name, v in scene.patch_labels(PATCH).items()}
        return Sample(scene, square, labels, _on_square(scene.patch_shares(PATCH)))

    def batch(self, count: int, size: tuple[int, int] | None = None) -> list[Sample]:
        """The next `count` scenes."""
        return [self.sample(size) for _ in range(count)]


def add_world_argument(parser: argparse.ArgumentParser) -> None:
    """The option that says which versions of the world are drawn, in turn."""
    parser.add_argument(
        "--worlds",
        type=int,
        nargs="+",
        choices=tuple(WORLDS),
        default=[VERSION],
        help="versions of Scenes to train on, in turn",
    )


def _on_square(values: NDArray[T]) -> NDArray[T]:
    """Values of patches [..., rows, columns] in the top left corner of the tower's patches."""
    side = SIDE // PATCH
    rows, columns = values.shape[-2:]
    around = [(0, 0)] * (values.ndim - 2) + [(0, side - rows), (0, side - columns)]
    return np.pad(values, around)


@dataclass(frozen=True)
class Objects:
    """The objects of a batch, padded: shares f32 [B, O, N] as in `Sample`; kind and colour i64
    [B, O], 1 + index as in the patch labels, 0 for no object."""

    shares: Tensor
    kind: Tensor
    colour: Tensor

    @classmethod
    def of(cls, samples: list[Sample]) -> Objects:
        """Of scenes; there is room for one object at least."""
        shape = (len(samples), max(1, *(len(s.shares) for s in samples)))
        shares = torch.zeros(*shape, (SIDE // PATCH) ** 2)
        kind, colour = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        for i, sample in enumerate(samples):
            for j, thing in enumerate(sample.scene.objects):
                shares[i, j] = torch.from_numpy(sample.shares[j].ravel())
                kind[i, j] = 1 + KINDS.index(thing.kind)
                colour[i, j] = 1 + COLOURS.index(thing.colour)
        return cls(shares, kind, colour)

    def to(self, device: str) -> Objects:
        """The same on another device."""
        return Objects(self.shares.to(device), self.kind.to(device), self.colour.to(device))

    def density(self) -> Tensor:
        """Objects of each kind, then of each colour, on each patch: f32 [B, kinds + colours, N].
        Over the patches they sum to counts."""
        kind = F.one_hot(self.kind, 1 + len(KINDS))[..., 1:]
        colour = F.one_hot(self.colour, 1 + len(COLOURS))[..., 1:]
        return torch.einsum("boc,bon->bcn", torch.cat([kind, colour], dim=2).float(), self.shares)
