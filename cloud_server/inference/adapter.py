"""Adapter tokens for a vision tower, from decoded latents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from cloud_server.inference.decoder import Decoded
from shared import bundle as bundles
from shared.bundle import Bundle
from shared.nets.adapter import LatentAdapter, load_adapter, place, place_latent
from shared.tower import same_tower


class Adapters:
    """The adapters that the bundles have for one tower, by bundle id.

    Streams of a codec fit any bundle of it: one without an adapter for this tower gets another's.
    `side`: pixels of the tower's square; `grid`: its patches a side.
    """

    def __init__(
        self,
        bundle_list: Iterable[Bundle],
        tower: str,
        side: int,
        grid: int,
        device: torch.device,
    ) -> None:
        self._side, self._grid = side, grid
        self._adapters: dict[bytes, LatentAdapter] = {}
        listed, of_codec = list(bundle_list), dict[bytes, LatentAdapter]()
        for bundle in listed:
            fits = same_tower(bundle.manifest.tower.fingerprint, tower)
            if fits and bundle.has(bundles.ADAPTER):
                adapter = load_adapter(bundle.path(bundles.ADAPTER)).to(device)
                self._adapters[bundle.id] = adapter
                of_codec.setdefault(bundle.codec_id, adapter)
        for bundle in listed:
            if bundle.codec_id in of_codec:
                self._adapters.setdefault(bundle.id, of_codec[bundle.codec_id])

    def __contains__(self, bundle_id: bytes) -> bool:
        return bundle_id in self._adapters

    def tokens(self, pictures: Sequence[Decoded]) -> Tensor | None:
        """Tokens f32 [B, 1 + grid^2, width], [CLS] first; zero for pictures without an adapter.

        None where no picture has one.
        """
        found = [self._of(one) if one.bundle_id in self else None for one in pictures]
        like = next((tokens for tokens in found if tokens is not None), None)
        if like is None:
            return None
        return torch.cat([torch.zeros_like(like) if one is None else one for one in found])

    def _of(self, decoded: Decoded) -> Tensor:
        height, width = decoded.picture.shape[:2]
        codes = torch.from_numpy(decoded.codes).to(decoded.latent.device)
        placed = place_latent(decoded.latent, codes, place(width, height, self._side), self._grid)
        latent, codes, covered = (part.unsqueeze(0) for part in placed)
        tokens: Tensor = self._adapters[decoded.bundle_id](latent, codes, covered)
        return tokens
