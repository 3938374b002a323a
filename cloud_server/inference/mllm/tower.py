"""The vision tower and projector of a LLaVA, fed with adapter tokens where there are any.

picture --square--> tower's embeddings --(+ adapter tokens)--> layers --projector--> features
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cloud_server.inference.adapter import Adapters
from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import VisualInput
from shared.bundle import Bundle
from shared.nets.adapter import place, place_picture
from shared.nets.fingerprint import fingerprint_of
from shared.schemas import View

TOWERS = ("clip_vision_model", "siglip_vision_model")
"""Vision towers of a fixed square, for which this is made."""


class Tower:
    """Looks at pictures with the tower of a `LlavaForConditionalGeneration`.

    model: that, or its `LlavaModel`. grid: patches a side of the tower's square.
    """

    def __init__(self, model: Any, processor: Any, bundles: Iterable[Bundle]) -> None:
        self._model = getattr(model, "model", model)
        self.embeddings = _embeddings(self._model.vision_tower)
        config = self._model.config.vision_config
        self._side = int(config.image_size)
        self.grid = self._side // int(config.patch_size)
        patch = self.embeddings.patch_embedding.weight
        self._dtype, self.device = patch.dtype, patch.device
        fingerprint = fingerprint_of(self._model.vision_tower)
        self._adapters = Adapters(bundles, fingerprint, self._side, self.grid, self.device)
        images = processor.image_processor
        self._mean = torch.tensor(images.image_mean, device=self.device)
        self._deviation = torch.tensor(images.image_std, device=self.device)

    def view(self, bundle_id: bytes) -> View:
        """Adapted latents where the bundle has an adapter for this very tower."""
        return "adapter" if bundle_id in self._adapters else "picture"

    @torch.inference_mode()
    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the projected features [N, D] of the picture."""
        squares = torch.stack([self._square(one) for one in pictures]).to(self._dtype)
        config = self._model.config
        with _added(self.embeddings, self._adapters.tokens(pictures)):
            features = self._model.get_image_features(
                pixel_values=squares,
                vision_feature_layer=config.vision_feature_layer,
                vision_feature_select_strategy=config.vision_feature_select_strategy,
            ).pooler_output
        return [
            VisualInput(self.view(picture.bundle_id), one, one.nbytes)
            for picture, one in zip(pictures, features, strict=True)
        ]

    def _square(self, decoded: Decoded) -> Tensor:
        """Normalised pixels [3, side, side]: top left, the long side fills the square."""
        picture = torch.from_numpy(decoded.picture).to(self.device).permute(2, 0, 1).float()
        at = place(picture.shape[2], picture.shape[1], self._side)
        square = place_picture(picture / 255, at, self._mean)
        return (square - self._mean.view(3, 1, 1)) / self._deviation.view(3, 1, 1)


def _embeddings(tower: nn.Module) -> Any:
    """The module of a tower that holds its patch and position embeddings."""
    return next(
        module
        for module in tower.modules()
        if hasattr(module, "patch_embedding") and hasattr(module, "position_embedding")
    )


@contextmanager
def _added(embeddings: nn.Module, tokens: Tensor | None) -> Iterator[None]:
    """Add `tokens` to the output of the embeddings while the context lasts.

    The hook lives for one call and holds the tokens of one batch, so no other request can get them.
    """
    if tokens is None:
        yield
        return

    def add(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return output + tokens.to(output.dtype)

    handle = embeddings.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
