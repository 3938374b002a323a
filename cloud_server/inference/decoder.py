"""From a bitstream to what the vision tower sees: picture, latent and quality codes.

Bitstream --level map--> quality codes --EntropyModel--> latent --Synthesis--> picture, cropped
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cloud_server.inference.clip import ClipFrame
from shared import bundle as bundles
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.clips.kept_frame import KeptFrame
from shared.entropy_model import EntropyModel
from shared.errors import UsageError
from shared.frames import Header
from shared.layers.enhancement import Enhancement
from shared.layers.known import Known
from shared.level_map import STRIDE, LevelMap, read_codes
from shared.nets.codec import load_synthesis
from shared.nets.fast_synthesis import FastSynthesis, Precision, dtype_of
from shared.tiles import spans

TILE: Final = 64
"""Latents a side of what is restored at a time: time and memory grow with pixels, not faster."""


def device_of(setting: str) -> torch.device:
    """The device that COTAM_DEVICE names; "auto" is a GPU where there is one.

    Raises UsageError where there is none and one is asked for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old driver: what follows says it in one line
        has_gpu = torch.cuda.is_available()
    if setting == "cuda" and not has_gpu:
        raise UsageError(
            "the device is 'cuda', and torch finds no GPU here",
            hint="--device cpu, or auto, which takes a GPU where there is one",
        )
    auto = "cuda" if has_gpu else "cpu"
    return torch.device(auto if setting == "auto" else setting)


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    picture: u8 [H, W, 3]. latent: f32 [C, h, w] in 8-bit units, h = ceil(H / 16).
    codes: i32 [h, w], quality codes 0..180. level_map: None where every cell has the same quality.
    bundle_id: that of the decoder. known: what an enhancement continues, where it was kept. frame:
    what a later clip continues, of the last frame of a clip that is kept.
    """

    picture: NDArray[np.uint8]
    latent: Tensor
    codes: NDArray[Any]
    level_map: LevelMap | None
    bundle_id: bytes
    known: Known | None = None
    frame: KeptFrame | None = None


def undecoded(picture: NDArray[np.uint8]) -> Decoded:
    """A picture u8 [H, W, 3] that came as it is: without latents, and so without an adapter."""
    return Decoded(picture, torch.empty(0), np.empty(0, np.int32), None, b"")


@dataclass(frozen=True)
class Latents:
    """A stream whose symbols have been read: latent f32 [C, h, w], codes i32 [h, w].

    stream: what names codec and size: that of a picture, or the head of a clip. known, frame: as
    of `Decoded`.
    """

    stream: Bitstream | Header
    latent: NDArray[np.float32]
    codes: NDArray[Any]
    level_map: LevelMap | None
    known: Known | None = None
    frame: KeptFrame | None = None


class Decoder:
    """Decodes streams of one codec. Hashes are checked as the bundle's files are read.

    precision: of the synthesis. Symbols and latents are exact in any.
    """

    def __init__(self, bundle: Bundle, device: torch.device, precision: Precision = "auto") -> None:
        self.bundle = bundle
        self._device = device
        self.entropy = EntropyModel.load(bundle.path(bundles.ENTROPY), product=torch_product)
        synthesis = load_synthesis(bundle.path(bundles.DECODER))
        self._synthesis = FastSynthesis(synthesis, dtype_of(precision, device)).to(device)

    def decode(
        self,
        stream: Bitstream | ClipFrame,
        enhancements: Sequence[Enhancement] = (),
        keep: bool = False,
    ) -> Decoded:
        """Decode a stream of this codec, with what continues it; raises as `read`.

        The stream's size has been checked against the limits when it was parsed.
        """
        return self.restore([self.read(stream, enhancements, keep)])[0]

    def read(
        self,
        stream: Bitstream | ClipFrame,
        enhancements: Sequence[Enhancement] = (),
        keep: bool = False,
    ) -> Latents:
        """The exact half: integers alone. keep: what another enhancement needs, too.

        Raises StreamMalformed, DecoderMismatch or EnhancementError.
        """
        if isinstance(stream, ClipFrame):
            walk = stream.walk(self.entropy)
            frame = KeptFrame.of(walk) if stream.is_kept else None
            latent, codes = walk.latent(), walk.state.codes
            return Latents(walk.header, latent, codes, walk.level_map, frame=frame)
        if keep or enhancements:
            return self._latents(Known.read(stream, self.entropy, enhancements))
        codes, level_map = read_codes(stream)
        latent = self.entropy.decode(stream.latents, stream.check, codes, stream.quality_code)
        return Latents(stream, latent, codes, level_map)

    def read_on(self, known: Known, enhancement: Enhancement) -> Latents:
        """The exact half of what continues a picture; raises as `Known.continued`."""
        return self._latents(known.continued(enhancement, self.entropy))

    def _latents(self, known: Known) -> Latents:
        latent, codes = known.latent(self.entropy), known.latents.codes
        return Latents(known.stream, latent, codes, known.level_map, known)

    @torch.inference_mode()
    def restore(self, batch: Sequence[Latents]) -> list[Decoded]:
        """The floating half: pictures of latents that all have the same shape."""
        latents = torch.stack([torch.from_numpy(read.latent) for read in batch]).to(self._device)
        codes = torch.stack([torch.from_numpy(read.codes) for read in batch]).to(self._device)
        pixels = self._pixels(latents, codes)
        return [
            Decoded(
                np.ascontiguousarray(picture[: read.stream.height, : read.stream.width]),
                latent,
                read.codes,
                read.level_map,
                self.bundle.id,
                read.known,
                read.frame,
            )
            for read, picture, latent in zip(batch, pixels, latents, strict=True)
        ]

    def _pixels(self, latents: Tensor, codes: Tensor) -> NDArray[np.uint8]:
        """u8 [B, 16h, 16w, 3]. Tiles see as far as the synthesis does: they leave no seams."""
        count, _, rows, columns = latents.shape
        pixels = np.empty((count, rows, STRIDE, columns, STRIDE, 3), np.uint8)
        reach = self._synthesis.reach
        for down in spans(rows, TILE, reach):
            for across in spans(columns, TILE, reach):
                seen = (..., slice(down.low, down.high), slice(across.low, across.high))
                restored = self._synthesis(latents[seen], codes[seen]).clamp(0, 1)
                tile = (restored * 255).round().to(torch.uint8)
                tile = tile.unflatten(3, (-1, STRIDE)).unflatten(2, (-1, STRIDE))
                top, left = down.start - down.low, across.start - across.low
                high, wide = down.stop - down.start, across.stop - across.start
                pixels[:, down.start : down.stop, :, across.start : across.stop] = (
                    tile[:, :, top : top + high, :, left : left + wide]
                    .permute(0, 2, 3, 4, 5, 1)
                    .cpu()
                    .numpy()
                )
        return pixels.reshape(count, rows * STRIDE, columns * STRIDE, 3)


def torch_product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """The product of two matrices of floats by torch, which knows more processors than numpy."""
    product: NDArray[Any] = torch.mm(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    return product


def decoders_of(
    bundle_list: Iterable[Bundle], device: torch.device, precision: Precision = "auto"
) -> dict[bytes, Decoder]:
    """A decoder for each id that a stream of these bundles may name; one for each codec."""
    decoders: dict[bytes, Decoder] = {}
    for bundle in bundle_list:
        if bundle.codec_id not in decoders:
            decoders[bundle.codec_id] = Decoder(bundle, device, precision)
        for former in bundle.manifest.codec.former_ids:
            decoders.setdefault(bytes.fromhex(former), decoders[bundle.codec_id])
    return decoders
