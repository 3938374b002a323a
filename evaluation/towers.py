"""Vision towers with their attention laid open: CLIP, SigLIP, InternViT, or a whole model's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    CLIPVisionModel,
    InternVLForConditionalGeneration,
    InternVLVisionModel,
    LlavaForConditionalGeneration,
    SiglipVisionModel,
)
from transformers.utils.logging import disable_progress_bar

from edge_client.images import Picture
from shared.errors import UsageError
from shared.nets.adapter import place, place_picture, tower_fingerprint

CLIP_STATISTICS: Final = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SIGLIP_STATISTICS: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET_STATISTICS: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS: Final[dict[str, Any]] = {
    "clip_vision_model": CLIP_STATISTICS,
    "siglip_vision_model": SIGLIP_STATISTICS,
    "internvl_vision": IMAGENET_STATISTICS,
}
"""Mean and deviation of the three channels, where a folder has no image processor."""

CLASSES: Final[dict[str, Any]] = {
    "clip": CLIPVisionModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipVisionModel,
    "siglip_vision_model": SiglipVisionModel,
    "internvl_vision": InternVLVisionModel,
    "internvl": InternVLForConditionalGeneration,
    "llava": LlavaForConditionalGeneration,
}


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
        patch = next(m.weight for m in model.modules() if isinstance(m, nn.Conv2d))
        positions = next(p for name, p in model.named_parameters() if "position_embedding" in name)
        self.layers = int(model.config.num_hidden_layers)
        self.fingerprint = tower_fingerprint(patch, positions)

    @torch.inference_mode()
    def __call__(self, picture: Picture) -> Flow:
        """Run a picture u8 [H, W, 3], laid on the square as the cloud lays it."""
        planes = torch.tensor(picture).permute(2, 0, 1).float() / 255
        at = place(picture.shape[1], picture.shape[0], self._side)
        square = place_picture(planes, at, self._mean) - self._mean.view(3, 1, 1)
        found = self._model(
            pixel_values=(square / self._deviation.view(3, 1, 1)).unsqueeze(0),
            output_attentions=True,
            output_hidden_states=True,
        )
        attention = torch.stack([layer[0].mean(dim=0) for layer in found.attentions])
        count = self.grid**2
        patches = attention[:, -count:, -count:]
        summary = attention[:, 0, -count:] if attention.shape[1] > count else None
        states = torch.stack([state[0] for state in found.hidden_states])
        return Flow(states, patches / patches.sum(dim=-1, keepdim=True), summary)


def load_tower(folder: str) -> Tower:
    """A tower from a folder or hub id of one of `CLASSES`, or `open_clip:MODEL:PRETRAINED`.

    Raises UsageError.
    """
    if folder.startswith("open_clip:"):
        from evaluation.open_clip_tower import load_open_clip

        return load_open_clip(folder)
    disable_progress_bar()  # of weights that load in a moment
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind not in CLASSES:
            raise UsageError(
                f"{folder} holds a {kind}", hint=f"towers are read from: {', '.join(CLASSES)}"
            )
        model = CLASSES[kind].from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"there is no vision tower to load at {folder}: {str(error).splitlines()[0]}",
            hint="name a folder in Hugging Face form, with safetensors, or a hub id",
        ) from error
    if kind in ("llava", "internvl"):
        model = model.model.vision_tower
    mean, deviation = _statistics(folder, model.config.model_type)
    return Tower(model, torch.tensor(mean), torch.tensor(deviation))


def _statistics(folder: str, kind: str) -> tuple[Any, Any]:
    """Mean and deviation of the folder's image processor, or of its family where it has none."""
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
    except (OSError, ValueError):
        return STATISTICS[kind]
    return tuple(processor.image_mean), tuple(processor.image_std)


def _one_side(size: Any) -> int:
    """Side in pixels of a square that some configurations give as a number, some as a pair."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UsageError(f"the tower takes pictures or patches that are not square: {size}")
    return int(sides.pop())
