"""From a bitstream to what the vision tower sees: picture, latent and quality codes.

Bitstream --level map--> quality codes --EntropyModel--> latent --Synthesis--> picture, cropped
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared import bundle as bundles
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.entropy_model import EntropyModel
from shared.level_map import LevelMap, flat_codes
from shared.nets.codec import load_synthesis


def device_of(setting: str) -> torch.device:
    """The device that COTAM_DEVICE names; "auto" is a GPU where there is one."""
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if setting == "auto" else setting)


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    picture: u8 [H, W, 3]. latent: f32 [C, h, w] in 8-bit units, h = ceil(H / 16).
    codes: i32 [h, w], quality codes 0..180. level_map: None where every cell has the same quality.
    """

    picture: NDArray[np.uint8]
    latent: Tensor
    codes: NDArray[Any]
    level_map: LevelMap | None
    bundle_id: bytes


@dataclass(frozen=True)
class Latents:
    """A stream whose symbols have been read: latent f32 [C, h, w], codes i32 [h, w]."""

    stream: Bitstream
    latent: NDArray[np.float32]
    codes: NDArray[Any]
    level_map: LevelMap | None


class Decoder:
    """Decodes streams of one bundle. Hashes are checked as its files are read."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.bundle = bundle
        self._device = device
        self.entropy = EntropyModel.load(bundle.path(bundles.ENTROPY))
        self._synthesis = load_synthesis(bundle.path(bundles.DECODER)).to(device)

    def decode(self, stream: Bitstream) -> Decoded:
        """Decode a stream of this bundle. Raises StreamMalformed or DecoderMismatch.

        The stream's size has been checked against the limits when it was parsed.
        """
        return self.restore([self.read(stream)])[0]

    def read(self, stream: Bitstream) -> Latents:
        """The exact half: integers alone. Raises StreamMalformed or DecoderMismatch."""
        level_map = None
        codes = flat_codes(stream.quality_code, stream.width, stream.height)
        if stream.level_map:
            level_map = LevelMap.decode(stream.level_map, stream.width, stream.height)
            codes = level_map.codes(stream.quality_code, stream.width, stream.height)
        found = self.entropy.decode(stream.latents, stream.check, codes, stream.quality_code)
        return Latents(stream, found, codes, level_map)

    @torch.inference_mode()
    def restore(self, batch: Sequence[Latents]) -> list[Decoded]:
        """The floating half: pictures of latents that all have the same shape."""
        latents = torch.stack([torch.from_numpy(one.latent) for one in batch]).to(self._device)
        codes = torch.stack([torch.from_numpy(one.codes) for one in batch]).to(self._device)
        restored = self._synthesis(latents, codes).clamp(0, 1)
        pixels = (restored * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [
            Decoded(
                np.ascontiguousarray(picture[: one.stream.height, : one.stream.width]),
                latent,
                one.codes,
                one.level_map,
                one.stream.bundle_id,
            )
            for one, picture, latent in zip(batch, pixels, latents, strict=True)
        ]
