"""The CLIP towers as open_clip's own files, so that open_clip loads them by name.

FOLDER/NAME.json                     the model's config, to be registered
FOLDER/open_clip_model.safetensors   both towers
FOLDER/tokenizer/                    of its captions, in Hugging Face form

    open_clip.add_model_config(FOLDER)
    open_clip.create_model(NAME, pretrained=f"{FOLDER}/open_clip_model.safetensors")
    open_clip.tokenizer.HFTokenizer(f"{FOLDER}/tokenizer", context_length=64)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing
from torch import nn

from training.small_models.tokenizer import END, build_tokenizer

NAME = "cotam-tiny"
WEIGHTS = "open_clip_model.safetensors"
TOKENIZER = "tokenizer"


def write_open_clip(clip: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write an `open_clip.CLIP` that was made from `config`, its weights in float16."""
    folder.mkdir(parents=True)
    # Patch tokens beside the embedding are for training: users expect one tensor.
    vision = {k: v for k, v in config["vision_cfg"].items() if k != "output_tokens"}
    text = json.dumps({**config, "vision_cfg": vision}, indent=1)
    (folder / f"{NAME}.json").write_text(text + "\n")
    weights = {n: t.detach().half().contiguous() for n, t in clip.state_dict().items()}
    save_file(weights, str(folder / WEIGHTS))
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tokenizer.convert_tokens_to_ids(END))]
    )
    tokenizer.save_pretrained(folder / TOKENIZER)
