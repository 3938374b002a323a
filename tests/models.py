"""Small image-text models with random weights, in the form in which users have theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SiglipImageProcessor,
)

CLASSES = ("clip", "siglip", "next", "onevision", "internvl", "qwen")
SIDE, PATCH = 56, 14
PINPOINTS = [[56, 112], [112, 56], [112, 112]]
CLIP = {
    **{"model_type": "clip_vision_model", "image_size": SIDE, "patch_size": PATCH},
    **{"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 4, "projection_dim": 16, "hidden_act": "quick_gelu"},
}
SIGLIP = {
    **{"model_type": "siglip_vision_model", "image_size": SIDE, "patch_size": PATCH},
    **{"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 4, "vision_use_head": False},
}
INTERN = {
    **{"model_type": "internvl_vision", "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]},
    **{"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 4},
}
QWEN = {
    **{"depth": 4, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "patch_size": PATCH},
    **{"out_hidden_size": 32, "window_size": 56, "fullatt_block_indexes": [1, 3]},
}
NAMED = {
    **{"start_image_token": "<img>", "end_image_token": "</img>"},
    **{"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
}
"""Tokens by the names under which InternVL's processor asks for them."""
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %} ASSISTANT:"
)


def write_model(kind: str, tokenizer_folder: Path, folder: Path) -> Path:
    """Write a small model of one of `CLASSES` with its processor into `folder`, which is returned.

    Its answers never end by themselves: the end is a token whose logit is the lowest.
    """
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, extra_special_tokens=NAMED)
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    marks += [*NAMED.values(), "<end>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in (*marks, "<image>")}
    text = {
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
        **{"max_position_embeddings": 2048, "bos_token_id": tokenizer.bos_token_id},
        **{"eos_token_id": ids["<end>"], "pad_token_id": tokenizer.pad_token_id},
    }
    torch.manual_seed(5 if kind == "internvl" else 0)  # so that pictures get different answers
    model, processor = _BUILD[kind](text, ids, tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.15)
        head = model.get_output_embeddings()
        head.weight.normal_(0.0, 0.5)
        head.weight[ids["<end>"]] = 0.0
    model.generation_config.eos_token_id = ids["<end>"]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _clip(text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return _llava(CLIP, images, -2, "default", 1, text, ids, tokenizer)


def _siglip(text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    images = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    return _llava(SIGLIP, images, -1, "full", 0, text, ids, tokenizer)


def _llava(
    vision: Any, images: Any, layer: int, select: str, extra: int, text: Any, ids: Any, words: Any
) -> tuple[Any, Any]:
    config = LlavaConfig(
        text_config={"model_type": "llama", **text},
        vision_config=vision,
        image_token_index=ids["<image>"],
        vision_feature_layer=layer,
        vision_feature_select_strategy=select,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    processor = LlavaProcessor(
        images,
        words,
        patch_size=PATCH,
        vision_feature_select_strategy=select,
        num_additional_image_tokens=extra,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def _next(text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    config = LlavaNextConfig(
        text_config={"model_type": "llama", **text},
        vision_config=CLIP,
        image_token_index=ids["<image>"],
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
    )
    images = LlavaNextImageProcessor(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=PINPOINTS,
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return LlavaNextForConditionalGeneration(config), processor


def _onevision(text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=SIGLIP,
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    images = LlavaOnevisionImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=PINPOINTS
    )
    processor = LlavaOnevisionProcessor(
        images,
        tokenizer,
        LlavaOnevisionVideoProcessor(),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _internvl(text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=INTERN,
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=(SIDE // PATCH) ** 2 // 4,
    )
    images = GotOcr2ImageProcessor(
        size={"height": SIDE, "width": SIDE}, min_patches=1, max_patches=4, crop_to_patches=True
    )
    processor = InternVLProcessor(
        images,
        tokenizer,
        InternVLVideoProcessor(),
        image_seq_length=(SIDE // PATCH) ** 2 // 4,
        chat_template=TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    return InternVLForConditionalGeneration(config), processor


def _qwen(text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config=QWEN,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    images = Qwen2VLImageProcessor(
        patch_size=PATCH, min_pixels=56 * 56, max_pixels=112 * 112, merge_size=2
    )
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = Qwen2_5_VLProcessor(
        images, tokenizer, Qwen2VLVideoProcessor(), chat_template=template
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


_BUILD = {
    **{"clip": _clip, "siglip": _siglip, "next": _next, "onevision": _onevision},
    **{"internvl": _internvl, "qwen": _qwen},
}
