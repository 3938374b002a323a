"""Vision towers of open_clip: any model of its list with a plain ViT, by name and weights.

Its own towers become transformers' CLIPVisionModel; those of timm, SigLIP's among them, are watched
as they run.
"""

from __future__ import annotations

import open_clip
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from transformers import CLIPVisionModel
from transformers.activations import QuickGELUActivation

from evaluation.towers.attention import Tower
from evaluation.towers.timm_tower import TimmVision
from shared.errors import UsageError
from training.small_models.conversion import convert_tower

PREFIX = "open_clip:"


def load_open_clip(place: str) -> Tower:
    """A tower named `open_clip:MODEL`, which is random, or `open_clip:MODEL:PRETRAINED`.

    PRETRAINED is a tag or a file, as in open_clip.create_model. Raises UsageError.
    """
    name, _, pretrained = place.removeprefix(PREFIX).partition(":")
    try:
        torch.manual_seed(0)
        visual = open_clip.create_model(name, pretrained=pretrained or None).visual
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(
            f"open_clip loads no {name} with {pretrained or 'random'} weights: "
            f"{str(error).splitlines()[0]}",
            hint="take names and tags from open_clip.list_pretrained()",
        ) from error
    mean, deviation = torch.tensor(visual.image_mean), torch.tensor(visual.image_std)
    if hasattr(visual, "trunk"):
        return Tower(TimmVision(visual.trunk, name), mean, deviation)
    if not isinstance(visual, VisionTransformer):
        raise UsageError(f"the vision tower of {name} is no plain ViT: its attention is not seen")
    model = convert_tower(visual)
    if isinstance(visual.transformer.resblocks[0].mlp.gelu, QuickGELU):
        _use_quick_gelu(model)
    model.set_attn_implementation("eager")
    return Tower(model, mean, deviation)


def _use_quick_gelu(model: CLIPVisionModel) -> None:
    """OpenAI's models were trained with an approximation of GELU, which their blocks tell."""
    for module in model.modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = QuickGELUActivation()
