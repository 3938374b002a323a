"""The vision tower and projector of a model, fed with adapter tokens where there are any.

Decoded --the model's own processor--> patch embeddings (+ adapter tokens) --> layers
        --projector--> features, kept for all questions about the picture
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from cloud_server.inference.adapter import Adapters
from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import VisualInput
from cloud_server.inference.mllm.pruning import Pruned, prune
from shared.bundle import Bundle
from shared.nets.fast_synthesis import Precision
from shared.nets.processed import Inputs
from shared.nets.video import Video
from shared.nets.vision import Vision
from shared.schemas import View
from shared.tower import same_tower

SMALL: Final = 64  # pixels a side of a picture to try with
TOGETHER: Final = 16  # pictures of one shape that a GPU looks at at a time


@dataclass(frozen=True)
class Looked:
    """A picture or clip as a model is asked about it: projected features f32 or less [N, D].

    ids: the tokens that stand for it in a prompt. inputs: what else the model is told of it.
    height, width: its pixels. pruned: which of its features these are, None where they are all;
    `ids` are those of all in any case.
    """

    features: Tensor
    ids: list[int]
    inputs: Inputs
    height: int
    width: int
    pruned: Pruned | None = None

    def read(self, mark: int) -> list[int]:
        """How many tokens each of `ids` stands for, 0 where it is not read; `mark`: a feature's."""
        if self.pruned is None:
            return [1] * len(self.ids)
        sizes = iter(self.pruned.sizes.tolist())
        return [next(sizes) if token == mark else 1 for token in self.ids]

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return int(self.features.nbytes + sum(part.nbytes for part in self.inputs.values()))


class Tower:
    """Looks at pictures with the tower of any image-text model of transformers.

    Where a bundle's manifest knows this very tower, its layout of the picture is followed, and
    `resolution` is its own: the long side in pixels that is worth sending. Otherwise None.
    video: how it looks at clips, None where it looks at pictures alone.
    """

    def __init__(
        self,
        vision: Vision,
        bundles: Iterable[Bundle],
        precision: Precision = "auto",
        keep: float = 1.0,
    ) -> None:
        """precision: of the adapters. keep: share of the features that are read, see `prune`."""
        self.vision = vision
        self._keep = keep
        self.resolution: int | None = None
        listed = list(bundles)
        for bundle in listed:
            if same_tower(bundle.manifest.tower.fingerprint, self.vision.fingerprint):
                self.vision.layout = bundle.manifest.tower.layout
                self.resolution = bundle.manifest.resolution
                break
        self._adapters = Adapters(listed, self.vision, precision)
        self.video = Video.of(vision)
        self._most = 1 if self.vision.device.type == "cpu" else TOGETHER

    @property
    def prunes(self) -> bool:
        """Whether it is known where features look, so that some need not be read."""
        return self.vision.places(SMALL, SMALL) is not None

    def view(self, bundle_id: bytes) -> View:
        """Adapted latents where the bundle has an adapter for this very tower."""
        return "adapter" if bundle_id in self._adapters else "picture"

    @torch.inference_mode()
    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the picture as `Looked`."""
        looks = [self.vision.look(picture.picture) for picture in pictures]
        inputs = [each for _, each in looks]
        groups: dict[Any, list[list[int]]] = {}
        for place, parts in enumerate(inputs):
            shapes = tuple((name, tuple(part.shape)) for name, part in parts.items())
            alike = groups.setdefault(shapes, [[]])
            if len(alike[-1]) >= self._most:
                alike.append([])
            alike[-1].append(place)
        features: dict[int, Tensor] = {}
        for group in (group for alike in groups.values() for group in alike):
            tokens = self._adapters.tokens([pictures[place] for place in group])
            made = self.vision.features([inputs[place] for place in group], tokens)
            features.update(zip(group, made, strict=True))
        seen = []
        for place, picture in enumerate(pictures):
            kept = {n: part for n, part in inputs[place].items() if n != "pixel_values"}
            height, width = picture.picture.shape[:2]
            pruned = self._pruned(picture)
            read = features[place] if pruned is None else pruned.of(features[place])
            looked = Looked(read, looks[place][0], kept, height, width, pruned)
            seen.append(VisualInput(self.view(picture.bundle_id), looked, looked.size))
        return seen

    @torch.inference_mode()
    def see_clip(self, frames: Sequence[Decoded], times: Sequence[float]) -> VisualInput:
        """Frames of a clip and their times in seconds, as one `Looked`, by the video input.

        They are adapted all or none: a frame without an adapter makes the clip one of pictures.
        """
        assert self.video is not None
        ids, inputs = self.video.look([frame.picture for frame in frames], times)
        adapted = self.video.adapts and all(f.bundle_id in self._adapters for f in frames)
        tokens = self._adapters.tokens(frames, self.video.adapt) if adapted else None
        features = self.video.features(inputs, tokens)
        kept = {name: part for name, part in inputs.items() if name != "pixel_values_videos"}
        height, width = frames[0].picture.shape[:2]
        looked = Looked(features, ids, kept, height, width)
        view: View = "adapter" if adapted else "picture"
        return VisualInput(view, looked, looked.size, len(frames))

    def _pruned(self, picture: Decoded) -> Pruned | None:
        if self._keep >= 1 or picture.level_map is None:
            return None
        height, width = picture.picture.shape[:2]
        places = self.vision.places(height, width)
        return None if places is None else prune(picture.codes, places, height, width, self._keep)
