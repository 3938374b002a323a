"""Conversion of open_clip vision towers to transformers' CLIPVisionModel, weights unchanged."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel


def convert_tower(visual: nn.Module, head_width: int) -> CLIPVisionModel:
    """An open_clip `VisionTransformer` (learnt positions, [CLS] pooling) as a CLIPVisionModel."""
    width = visual.conv1.out_channels
    blocks = visual.transformer.resblocks
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=blocks[0].mlp.c_fc.out_features,
        num_hidden_layers=len(blocks),
        num_attention_heads=width // head_width,
        image_size=visual.image_size[0],
        patch_size=visual.patch_size[0],
        hidden_act="gelu",
        projection_dim=visual.output_dim,
    )
    tower = CLIPVisionModel(config)
    tower.load_state_dict(_renamed(visual.state_dict(), len(blocks)))
    return tower.eval()


def _renamed(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    named = {
        "embeddings.class_embedding": state["class_embedding"],
        "embeddings.patch_embedding.weight": state["conv1.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
    }
    pairs = [("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")]
    for i in range(layers):
        ours, theirs = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            joint = state[f"{theirs}.attn.in_proj_{kind}"]
            for name, part in zip("qkv", torch.chunk(joint, 3), strict=True):
                named[f"{ours}.self_attn.{name}_proj.{kind}"] = part
        pairs += [
            (f"{ours}.layer_norm1", f"{theirs}.ln_1"),
            (f"{ours}.layer_norm2", f"{theirs}.ln_2"),
            (f"{ours}.self_attn.out_proj", f"{theirs}.attn.out_proj"),
            (f"{ours}.mlp.fc1", f"{theirs}.mlp.c_fc"),
            (f"{ours}.mlp.fc2", f"{theirs}.mlp.c_proj"),
        ]
    for ours, theirs in pairs:
        for kind in ("weight", "bias"):
            named[f"{ours}.{kind}"] = state[f"{theirs}.{kind}"]
    return named
