"""Pictures, streams and small random language models for the tests of the service."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from edge_client.coding.encoder import Encoder
from shared.bundle import MLLM, Bundle


def draw(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture u8 [height, width, 3] of coloured waves and a square."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / chance.uniform(9, 60) + y / chance.uniform(9, 60)) for _ in range(3)]
    picture = 128 + 90 * np.stack(waves, axis=-1)
    picture[height // 4 : height // 2, width // 4 : width // 2] = chance.integers(0, 255, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def encoder(bundle: Bundle) -> Encoder:
    return Encoder(bundle, threads=1)


@pytest.fixture(scope="session")
def streams(encoder: Encoder) -> list[bytes]:
    """Three coded pictures of different shapes."""
    shapes = ((256, 256), (256, 170), (100, 256))
    return [
        encoder.analyse(draw(*shape, seed)).code(3.0).to_bytes()
        for seed, shape in enumerate(shapes)
    ]


@pytest.fixture(scope="session")
def stream(streams: list[bytes]) -> bytes:
    return streams[0]


@pytest.fixture(scope="session")
def talkative(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's LLaVA with a random language model: the same tower, and never a short answer."""
    model = _llava(bundle)
    _shake(model.model.language_model, 0.3)
    return _save(model, bundle, tmp_path_factory.mktemp("models") / "talkative")


@pytest.fixture(scope="session")
def stranger(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA whose tower is one that no adapter was made for."""
    model = _llava(bundle)
    _shake(model, 0.3)
    return _save(model, bundle, tmp_path_factory.mktemp("models") / "stranger")


@pytest.fixture(scope="session")
def qwen(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2-VL: another class, another processor, pictures of any shape."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    folder = tmp_path_factory.mktemp("models") / "qwen"
    tokenizer = AutoTokenizer.from_pretrained(bundle.path(MLLM))
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    start, end, image, video = tokenizer.convert_tokens_to_ids(marks)
    torch.manual_seed(1)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [2, 3, 3],
            },
        },
        vision_config={
            "depth": 1,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    model = Qwen2VLForConditionalGeneration(config)
    _shake(model, 0.2)
    model.save_pretrained(folder)
    template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %} :"
    )
    Qwen2VLProcessor(
        Qwen2VLImageProcessor(max_pixels=112 * 112, min_pixels=28 * 28),
        tokenizer,
        Qwen2VLVideoProcessor(max_pixels=112 * 112, min_pixels=28 * 28, cap_pixels_per_frame=False),
        chat_template=template,
    ).save_pretrained(folder)
    return folder


def _llava(bundle: Bundle) -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(
        bundle.path(MLLM), dtype=torch.float32, use_safetensors=True
    )


def _shake(model: torch.nn.Module, deviation: float) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, deviation)


def _save(model: LlavaForConditionalGeneration, bundle: Bundle, folder: Path) -> Path:
    """The model in float16 as a bundle has it, with the bundle's processor, and no end of answers.

    They end with the token for padding, whose logit is always 0, so that another one is likelier.
    """
    with torch.no_grad():
        model.get_output_embeddings().weight[model.config.text_config.pad_token_id] = 0.0
    model.half().save_pretrained(folder)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundle.root / MLLM / name, folder)
    shutil.copy(bundle.root / MLLM / "chat_template.jinja", folder)
    settings = folder / "generation_config.json"
    known = json.loads(settings.read_text())
    settings.write_text(json.dumps({**known, "eos_token_id": known["pad_token_id"]}))
    return folder
