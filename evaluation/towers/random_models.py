"""Image-text models with random weights, small or of true size, in the form in which users have
theirs."""

from __future__ import annotations

from dataclasses import dataclass
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
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
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
CLIP_CLASSES = ("next_video", "onevision", "qwen")
"""Those that take clips. The first sees pictures as `next` does, and is none of `CLASSES`."""
SIDE, PATCH = 56, 14  # of the small ones


@dataclass(frozen=True)
class Shapes:
    """Settings of the vision parts, in transformers' names, and of the processors.

    side: pixels of a view, of CLIP's tower and of InternVL's. tiles: InternVL's views at most
    but one. context: tokens of the language model. deviation: of the weights, None for the
    classes' own start.
    """

    clip: dict[str, Any]
    siglip: dict[str, Any]
    intern: dict[str, Any]
    qwen: dict[str, Any]
    next_pinpoints: list[list[int]]
    onevision_pinpoints: list[list[int]]
    tiles: int
    qwen_pixels: tuple[int, int]
    context: int
    deviation: float | None


_LAYERS = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 4},
}
SMALL = Shapes(
    {**_LAYERS, "image_size": SIDE, "projection_dim": 16},
    {**_LAYERS, "image_size": SIDE},
    {**_LAYERS, "image_size": [SIDE, SIDE]},
    {
        **{"depth": 4, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4},
        **{"window_size": 56, "fullatt_block_indexes": [1, 3]},
    },
    [[56, 112], [112, 56], [112, 112]],
    [[56, 112], [112, 56], [112, 112]],
    4,
    (56 * 56, 112 * 112),
    2048,
    0.15,
)
TRUE = Shapes(
    # CLIP-L/14 at 336
    {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16},
        **{"num_hidden_layers": 24, "image_size": 336, "projection_dim": 768},
    },
    # SigLIP-so400m/14 at 384
    {
        **{"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16},
        **{"num_hidden_layers": 27, "image_size": 384},
    },
    # InternViT-300M at 448
    {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16},
        **{"num_hidden_layers": 24, "image_size": [448, 448]},
    },
    # Qwen2.5-VL's, which is of one size in all its models
    {
        **{"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
        **{"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
    },
    [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)],
    2,  # of 12: the others are more of the same
    (56 * 56, 28 * 28 * 1280),
    16_384,
    None,
)
NAMED = {
    **{"start_image_token": "<img>", "end_image_token": "</img>"},
    **{"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
}
"""Tokens by the names under which InternVL's processor asks for them."""
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'video' %}VIDEO"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %} ASSISTANT:"
)


def write_model(kind: str, tokenizer_folder: Path, folder: Path, shapes: Shapes = SMALL) -> Path:
    """Write a model of one of `CLASSES` or `CLIP_CLASSES` with its processor into `folder`.

    The folder is returned. The language model is small in any case. Its answers never end by
    themselves: the end is a token whose logit is the lowest.
    """
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, extra_special_tokens=NAMED)
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    marks += [*NAMED.values(), "<end>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in (*marks, "<image>")}
    text = {
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
        **{"max_position_embeddings": shapes.context, "bos_token_id": tokenizer.bos_token_id},
        **{"eos_token_id": ids["<end>"], "pad_token_id": tokenizer.pad_token_id},
    }
    torch.manual_seed(5 if kind == "internvl" else 0)  # so that pictures get different answers
    model, processor = _BUILD[kind](shapes, text, ids, tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1 and shapes.deviation is not None:
                weight.normal_(0.0, shapes.deviation)
        head = model.get_output_embeddings()
        head.weight.normal_(0.0, 0.5)
        head.weight[ids["<end>"]] = 0.0
    model.generation_config.eos_token_id = ids["<end>"]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _clip(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    side = shapes.clip["image_size"]
    images = CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return _llava(_clip_tower(shapes), images, -2, "default", 1, text, ids, tokenizer)


def _siglip(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    side = shapes.siglip["image_size"]
    images = SiglipImageProcessor(size={"height": side, "width": side})
    return _llava(_siglip_tower(shapes), images, -1, "full", 0, text, ids, tokenizer)


def _clip_tower(shapes: Shapes) -> dict[str, Any]:
    fixed = {"model_type": "clip_vision_model", "patch_size": PATCH, "hidden_act": "quick_gelu"}
    return {**fixed, **shapes.clip}


def _siglip_tower(shapes: Shapes) -> dict[str, Any]:
    fixed = {"model_type": "siglip_vision_model", "patch_size": PATCH, "vision_use_head": False}
    return {**fixed, **shapes.siglip}


def _llava(
    vision: Any, images: Any, layer: int, select: str, extra: int, text: Any, ids: Any, words: Any
) -> tuple[Any, Any]:
    config = LlavaConfig(
        text_config={"model_type": "llama", **text},
        vision_config=vision,
        image_token_index=ids["<image>"],
        vision_feature_layer=layer,
        vision_feature_select_strategy=select,
        image_seq_length=(vision["image_size"] // PATCH) ** 2,
    )
    processor = LlavaProcessor(
        images,
        words,
        patch_size=PATCH,
        vision_feature_select_strategy=select,
        num_additional_image_tokens=extra,
        chat_template=_template("<image>", ""),
    )
    return LlavaForConditionalGeneration(config), processor


def _next(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    side = shapes.clip["image_size"]
    config = LlavaNextConfig(
        text_config={"model_type": "llama", **text},
        vision_config=_clip_tower(shapes),
        image_token_index=ids["<image>"],
        image_grid_pinpoints=shapes.next_pinpoints,
        vision_feature_layer=-2,
    )
    images = LlavaNextImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_grid_pinpoints=shapes.next_pinpoints,
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>", ""),
    )
    return LlavaNextForConditionalGeneration(config), processor


def _next_video(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    side = shapes.clip["image_size"]
    size = {
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
    }
    config = LlavaNextVideoConfig(
        text_config={"model_type": "llama", **text},
        vision_config=_clip_tower(shapes),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=shapes.next_pinpoints,
        vision_feature_layer=-2,
    )
    processor = LlavaNextVideoProcessor(
        LlavaNextVideoVideoProcessor(**size),
        LlavaNextImageProcessor(image_grid_pinpoints=shapes.next_pinpoints, **size),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>", "<video>"),
    )
    return LlavaNextVideoForConditionalGeneration(config), processor


def _onevision(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    side = shapes.siglip["image_size"]
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=_siglip_tower(shapes),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=shapes.onevision_pinpoints,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    images = LlavaOnevisionImageProcessor(
        size={"height": side, "width": side}, image_grid_pinpoints=shapes.onevision_pinpoints
    )
    processor = LlavaOnevisionProcessor(
        images,
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": side, "width": side}),
        num_image_tokens=(side // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=_template("<image>", "<video>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _internvl(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    side, _ = shapes.intern["image_size"]
    vision = {"model_type": "internvl_vision", "patch_size": [PATCH, PATCH], **shapes.intern}
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text},
        vision_config=vision,
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=(side // PATCH) ** 2 // 4,
    )
    images = GotOcr2ImageProcessor(
        size={"height": side, "width": side},
        min_patches=1,
        max_patches=shapes.tiles,
        crop_to_patches=True,
    )
    processor = InternVLProcessor(
        images,
        tokenizer,
        InternVLVideoProcessor(),
        image_seq_length=(side // PATCH) ** 2 // 4,
        chat_template=_template("<IMG_CONTEXT>", ""),
    )
    return InternVLForConditionalGeneration(config), processor


def _qwen(shapes: Shapes, text: Any, ids: Any, tokenizer: Any) -> tuple[Any, Any]:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={"patch_size": PATCH, "out_hidden_size": 32, **shapes.qwen},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids[NAMED["video_token"]],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    fewest, most = shapes.qwen_pixels
    images = Qwen2VLImageProcessor(
        patch_size=PATCH, min_pixels=fewest, max_pixels=most, merge_size=2
    )
    videos = Qwen2VLVideoProcessor(
        patch_size=PATCH, min_pixels=fewest, max_pixels=most, cap_pixels_per_frame=False
    )
    marks = (
        f"<|vision_start|>{mark}<|vision_end|>" for mark in ("<|image_pad|>", NAMED["video_token"])
    )
    processor = Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=_template(*marks))
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _template(image: str, video: str) -> str:
    return TEMPLATE.replace("IMAGE", image).replace("VIDEO", video)


_BUILD = {
    **{"clip": _clip, "siglip": _siglip, "next": _next, "onevision": _onevision},
    **{"internvl": _internvl, "qwen": _qwen, "next_video": _next_video},
}
