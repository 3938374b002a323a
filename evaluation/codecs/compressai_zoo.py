"""Models of CompressAI's zoo by name, as they are published: real bytes by `compress`, and back.

file: height, width u16 | rows, columns of the latent u16 | quality u8 | per string u32 and bytes
"""

from __future__ import annotations

import functools
import struct
import urllib.error
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evaluation.codecs.pillow_formats import Picture
from shared.errors import UsageError

HEAD = struct.Struct("<4HB")
LENGTH = struct.Struct("<I")
MULTIPLE = 64  # pixels: the strides of the deepest latent


@dataclass(frozen=True)
class ZooModel:
    """A model at its published weights, trained for MSE; `ladder` holds its qualities."""

    name: str
    ladder: tuple[int, ...]

    def encode(self, picture: Picture, quality: int) -> bytes:
        """A file of a picture u8 [H, W, 3]. Raises UsageError where there are no weights."""
        return compress(published(self.name, quality), picture, quality)

    def decode(self, file: bytes) -> Picture:
        """The picture u8 [H, W, 3] of a file."""
        return decompress(published(self.name, HEAD.unpack_from(file)[4]), file)

    def describe(self) -> str:
        """Name and version, for the report."""
        return f"{self.name} (CompressAI {version('compressai')})"


def find_learned(names: str) -> list[ZooModel]:
    """Models by their names with commas between, dashes or underscores in them.

    Raises UsageError for a name that CompressAI does not publish.
    """
    urls = _urls()
    models = []
    for name in filter(None, (part.strip().replace("_", "-") for part in names.split(","))):
        if "mse" not in urls.get(name, {}):
            raise UsageError(
                f"CompressAI has no model {name}", hint=f"it has {', '.join(sorted(urls))}"
            )
        models.append(ZooModel(name, tuple(sorted(urls[name]["mse"]))))
    return models


def missing_weights(model: ZooModel) -> str | None:
    """Why a model cannot be used, or None where the weights of all its qualities load."""
    try:
        for quality in model.ladder:
            published(model.name, quality)
    except UsageError as error:
        return str(error)
    return None


@functools.cache
def published(name: str, quality: int) -> Any:
    """A model with its published weights, ready to code.

    torch.hub fetches them once and keeps them. Raises UsageError where it cannot.
    """
    try:
        model = _models()[name](quality, "mse", pretrained=True, progress=False)
    except (OSError, RuntimeError, EOFError, urllib.error.URLError) as error:
        file = Path(_urls()[name]["mse"][quality]).name
        raise UsageError(
            f"the weights of CompressAI's {name}, quality {quality}, cannot be loaded: {error}",
            hint=f"they are fetched once: connect, or put {file} into "
            "the folder checkpoints of torch.hub (TORCH_HOME)",
        ) from error
    return _ready(model)


def untrained(name: str, quality: int) -> Any:
    """The same with random weights: its time does not depend on them much."""
    torch.manual_seed(0)
    return _ready(_models()[name](quality, pretrained=False))


@torch.inference_mode()
def compress(model: Any, picture: Picture, quality: int) -> bytes:
    """A file of a picture u8 [H, W, 3]."""
    height, width = picture.shape[:2]
    planes = torch.tensor(picture).permute(2, 0, 1).unsqueeze(0).float() / 255
    down, right = -height % MULTIPLE, -width % MULTIPLE
    coded = model.compress(nn.functional.pad(planes, (0, right, 0, down), mode="replicate"))
    file = bytearray(HEAD.pack(height, width, *coded["shape"], quality))
    for strings in coded["strings"]:
        file += LENGTH.pack(len(strings[0])) + strings[0]
    return bytes(file)


@torch.inference_mode()
def decompress(model: Any, file: bytes) -> Picture:
    """The picture u8 [H, W, 3] of a file."""
    height, width, rows, columns, _ = HEAD.unpack_from(file)
    strings, at = [], HEAD.size
    while at < len(file):
        (length,) = LENGTH.unpack_from(file, at)
        at += LENGTH.size + length
        strings.append([file[at - length : at]])
    decoded = model.decompress(strings, (rows, columns))["x_hat"][0, :, :height, :width]
    return np.asarray((decoded.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0))


def _ready(model: nn.Module) -> Any:
    model.eval().update(force=True)  # type: ignore[operator]
    return model


def _models() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai.zoo import image_models
    return dict(image_models)


def _urls() -> dict[str, Any]:
    """Where weights are published, by name, measure and quality."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai.zoo.image import model_urls
    urls: dict[str, Any] = model_urls
    return urls
