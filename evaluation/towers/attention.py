"""Vision towers with their attention laid open: CLIP, SigLIP, InternViT, or a whole model's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPVisionModel,
    InternVLForConditionalGeneration,
    InternVLVisionModel,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    SiglipVisionModel,
)
from transformers.utils.logging import disable_progress_bar

from edge_client.pictures.images import Picture
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
        positions = (p for name, p in model.named_parameters() if _is_position(name))
        self.layers = int(model.config.num_hidden_layers)
        self.fingerprint = tower_fingerprint(patch, next(positions, patch))

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
        count = self.grid**2
        if not found.attentions or found.attentions[0].shape[-1] < count:
            raise UsageError("the tower is no plain ViT: its attention is not seen")
        attention = torch.stack([layer[0].mean(dim=0) for layer in found.attentions])
        patches = attention[:, -count:, -count:]
        summary = attention[:, 0, -count:] if attention.shape[1] > count else None
        states = torch.stack([state[0] for state in found.hidden_states])
        return Flow(states, patches / patches.sum(dim=-1, keepdim=True), summary)


def load_tower(folder: str) -> Tower:
    """A tower from a folder or hub id, or `open_clip:MODEL:PRETRAINED`.

    A folder holds one of `CLASSES`, or anything that AutoModel loads and that is, or has, a vision
    transformer of a fixed square. Raises UsageError.
    """
    if folder.startswith("open_clip:"):
        from evaluation.towers.open_clip_tower import load_open_clip

        return load_open_clip(folder)
    disable_progress_bar()  # of weights that load in a moment
    try:
        config = AutoConfig.from_pretrained(folder)
        vision = getattr(config, "vision_config", config)
        if not (hasattr(vision, "image_size") and hasattr(vision, "patch_size")):
            raise UsageError(
                f"{folder} holds a {config.model_type}, which has no vision transformer",
                hint=f"towers are read from: {', '.join(CLASSES)}, and others like them",
            )
        model = CLASSES.get(config.model_type, AutoModel).from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"there is no vision tower to load at {folder}: {str(error).splitlines()[0]}",
            hint="name a folder in Hugging Face form, with safetensors, or a hub id",
        ) from error
    model = _vision_of(model)
    mean, deviation = _statistics(folder, model.config.model_type)
    return Tower(model, torch.tensor(mean), torch.tensor(deviation))


def _vision_of(model: Any) -> Any:
    """The vision tower of a model that has more, or the model itself."""
    for holder in (model, getattr(model, "model", None)):
        for name in ("vision_tower", "vision_model"):
            if isinstance(getattr(holder, name, None), PreTrainedModel):
                return getattr(holder, name)
    return model


def _is_position(name: str) -> bool:
    return any(part in name for part in ("position_embedding", "pos_embed"))


def _statistics(folder: str, kind: str) -> tuple[Any, Any]:
    """Mean and deviation of the folder's image processor, or of its family where it has none."""
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
    except (OSError, ValueError):
        return STATISTICS.get(kind, IMAGENET_STATISTICS)
    return tuple(processor.image_mean), tuple(processor.image_std)


def _one_side(size: Any) -> int:
    """Side in pixels of a square that some configurations give as a number, some as a pair."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UsageError(f"the tower takes pictures or patches that are not square: {size}")
    return int(sides.pop())
