"""Adapter tokens for a vision tower, from decoded latents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from cloud_server.inference.decoder import Decoded
from shared import bundle as bundles
from shared.bundle import Bundle
from shared.nets.adapter import LatentAdapter, load_adapter
from shared.nets.fast_synthesis import Precision, dtype_of
from shared.nets.vision import Vision
from shared.tower import TowerSpec, same_tower

Adapt = Callable[[LatentAdapter, Tensor, Tensor, int, int], Tensor]

log = logging.getLogger(__name__)


class Adapters:
    """The adapters that the bundles have for one tower, by bundle id.

    Streams of a codec fit any bundle of it: one without an adapter for this tower gets another's.
    """

    def __init__(
        self, bundle_list: Iterable[Bundle], vision: Vision, precision: Precision = "auto"
    ) -> None:
        """precision: of the adapters' weights and values; what they give is added in float32."""
        self._vision = vision
        dtype = dtype_of(precision, vision.device)
        self._adapters: dict[bytes, LatentAdapter] = {}
        listed, of_codec = list(bundle_list), dict[bytes, LatentAdapter]()
        for bundle in listed:
            if not bundle.has(bundles.ADAPTER):
                continue
            if same_tower(bundle.manifest.tower.fingerprint, vision.fingerprint):
                adapter = load_adapter(bundle.path(bundles.ADAPTER)).to(vision.device, dtype)
                self._adapters[bundle.id] = adapter
                of_codec.setdefault(bundle.codec_id, adapter)
            else:
                log.warning(
                    "the adapter of bundle %s (%s) is not used: it was made for %s, and %s is "
                    "served; answers say view: picture",
                    bundle.hex_id,
                    bundle.manifest.name,
                    _description(bundle.manifest.tower),
                    _description(vision.spec()),
                )
        for bundle in listed:
            if bundle.codec_id in of_codec:
                self._adapters.setdefault(bundle.id, of_codec[bundle.codec_id])

    def __contains__(self, bundle_id: bytes) -> bool:
        return bundle_id in self._adapters

    def tokens(self, pictures: Sequence[Decoded], adapt: Adapt | None = None) -> Tensor | None:
        """What is added to the patch embeddings of the pictures, f32, in the tower's own form.

        The pictures have the same numbers of views and tokens; zero for those without an adapter,
        None where no picture has one. adapt: in place of `Vision.adapt`.
        """
        adapt = adapt or self._vision.adapt
        tokens_of_each = [
            self._of(picture, adapt) if picture.bundle_id in self else None for picture in pictures
        ]
        like = next((tokens for tokens in tokens_of_each if tokens is not None), None)
        if like is None:
            return None
        return torch.cat(
            [torch.zeros_like(like) if tokens is None else tokens for tokens in tokens_of_each]
        )

    def _of(self, decoded: Decoded, adapt: Adapt) -> Tensor:
        return adapt(
            self._adapters[decoded.bundle_id],
            decoded.latent.unsqueeze(0),
            torch.from_numpy(decoded.codes).unsqueeze(0).to(decoded.latent.device),
            *decoded.picture.shape[:2],
        )


def _description(tower: TowerSpec) -> str:
    grid = "any grid" if tower.grid is None else f"{tower.grid}x{tower.grid} patches"
    return f"the {tower.vision} of a {tower.model} ({tower.width} wide, {grid})"
