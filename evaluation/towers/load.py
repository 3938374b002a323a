"""Where vision towers come from: a folder, the hub, or open_clip's list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
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

from evaluation.towers.attention import Tower
from evaluation.towers.open_clip_tower import PREFIX, load_open_clip
from shared.errors import UsageError

CLIP_STATISTICS: Final = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SIGLIP_STATISTICS: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET_STATISTICS: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS: Final = {
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


def load_tower(folder: str) -> Tower:
    """A tower from a folder or hub id, or `open_clip:MODEL:PRETRAINED`.

    A folder holds one of `CLASSES`, or anything that AutoModel loads and that is, or has, a vision
    transformer of a fixed square. Raises UsageError.
    """
    if folder.startswith(PREFIX):
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


def _statistics(folder: str, kind: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of the folder's image processor, or of its family where it has none."""
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
    except (OSError, ValueError):
        return STATISTICS.get(kind, IMAGENET_STATISTICS)
    return processor.image_mean, processor.image_std
