"""Vision towers with their attention laid open: CLIP, SigLIP, InternViT, or a whole model's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edge_client.pictures.images import Picture
from shared.errors import UsageError
from shared.nets.adapter import place, place_picture
from shared.nets.fingerprint import fingerprint_of


@dataclass(frozen=True)
class Flow:
    """What a picture does in a tower of L layers.

    states f32 [L + 1, T, D]: tokens before the first layer and after each; attention f32
    [L, N, N]: of patches to patches, mean over heads, rows sum to 1; summary f32 [L, N]: of [CLS]
    to the patches, mean over heads, None where the tower has no such token.
    """

    states: Tensor
    attention: Tensor
    summary: Tensor | None


class Tower:
    """A vision tower for a fixed square."""

    def __init__(self, model: Any, mean: Tensor, deviation: Tensor) -> None:
        self._model = model.eval()
        self._mean, self._deviation = mean, deviation
        self._side = _one_side(model.config.image_size)
        self.grid = self._side // _one_side(model.config.patch_size)
        self.layers = int(model.config.num_hidden_layers)
        self.fingerprint = fingerprint_of(model)

    @torch.inference_mode()
    def __call__(self, picture: Picture) -> Flow:
        """Run a picture u8 [H, W, 3], laid on the square as the cloud lays it."""
        planes = torch.tensor(picture).permute(2, 0, 1).float() / 255
        at = place(picture.shape[1], picture.shape[0], self._side)
        square = place_picture(planes, at, self._mean) - self._mean.view(3, 1, 1)
        output = self._model(
            pixel_values=(square / self._deviation.view(3, 1, 1)).unsqueeze(0),
            output_attentions=True,
            output_hidden_states=True,
        )
        count = self.grid**2
        if not output.attentions or output.attentions[0].shape[-1] < count:
            raise UsageError("the tower is no plain ViT: its attention is not seen")
        attention = torch.stack([layer[0].mean(dim=0) for layer in output.attentions])
        patches = attention[:, -count:, -count:]
        summary = attention[:, 0, -count:] if attention.shape[1] > count else None
        states = torch.stack([state[0] for state in output.hidden_states])
        return Flow(states, patches / patches.sum(dim=-1, keepdim=True), summary)


def _one_side(size: Any) -> int:
    """Side in pixels of a square that some configurations give as a number, some as a pair."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UsageError(f"the tower takes pictures or patches that are not square: {size}")
    return int(sides.pop())
