"""Conversion of open_clip vision towers to transformers' CLIPVisionModel, weights unchanged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel


def convert_tower(visual: Any) -> CLIPVisionModel:
    """An open_clip `VisionTransformer` (learnt positions, [CLS] pooling) as a CLIPVisionModel."""
    width = visual.conv1.out_channels
    blocks = visual.transformer.resblocks
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=blocks[0].mlp.c_fc.out_features,
        num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads,
        image_size=visual.image_size[0],
        patch_size=visual.patch_size[0],
        hidden_act="gelu",
        projection_dim=visual.output_dim,
    )
    tower = CLIPVisionModel(config)
    tower.load_state_dict(_renamed(visual.state_dict(), len(blocks)))
    return tower.eval()


def unconverted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a CLIPVisionModel under the names of an open_clip `VisionTransformer`."""
    layers = sum(name.endswith("layer_norm1.weight") for name in state)
    renamed = {open_clip_name: state[hf_name] for open_clip_name, hf_name in _names(layers).items()}
    for i in range(layers):
        for kind in ("weight", "bias"):
            parts = [state[f"encoder.layers.{i}.self_attn.{n}_proj.{kind}"] for n in "qkv"]
            renamed[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(parts)
    return renamed


def _renamed(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    renamed = {hf_name: state[open_clip_name] for open_clip_name, hf_name in _names(layers).items()}
    for i in range(layers):
        for kind in ("weight", "bias"):
            joint = state[f"transformer.resblocks.{i}.attn.in_proj_{kind}"]
            for name, part in zip("qkv", torch.chunk(joint, 3), strict=True):
                renamed[f"encoder.layers.{i}.self_attn.{name}_proj.{kind}"] = part
    return renamed


def _names(layers: int) -> dict[str, str]:
    """Names of open_clip's weights, and transformers' of the same, but for joint projections."""
    pairs = [("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")]
    for i in range(layers):
        parts = (
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("attn.out_proj", "self_attn.out_proj"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        )
        pairs += [(f"transformer.resblocks.{i}.{a}", f"encoder.layers.{i}.{b}") for a, b in parts]
    named = {f"{a}.{kind}": f"{b}.{kind}" for a, b in pairs for kind in ("weight", "bias")}
    return named | {
        "class_embedding": "embeddings.class_embedding",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
    }
