"""Finds a language model: a folder, a hub id, or the address of another server.

Of a folder or hub id only safetensors are read, and no code of it is run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from cloud_server.mllm.base import Backend
from cloud_server.mllm.image_text import ImageText
from cloud_server.mllm.llava import TOWERS, Llava
from cloud_server.mllm.upstream import Upstream, UpstreamOptions
from shared import bundle as bundles
from shared.bundle import Bundle
from shared.errors import UsageError

log = logging.getLogger(__name__)


def load_backend(
    place: str, bundle_list: Sequence[Bundle], device: torch.device, upstream: UpstreamOptions
) -> Backend:
    """The model at `place`, or the first bundle's own where that is empty.

    Weights are float32 on a CPU, as the checkpoint has them (float16 or bfloat16) on a GPU. Raises
    UsageError where there is no model that transformers can load, UpstreamError where an address
    does not answer.
    """
    if place.startswith(("http://", "https://")):
        return Upstream(place, upstream)
    name, folder = place.rstrip("/"), place
    if not place:
        first = bundle_list[0]
        if not first.has(bundles.MLLM):
            raise UsageError(
                f"the bundle {first.manifest.name} has no language model",
                hint="name one with --mllm",
            )
        name, folder = first.manifest.name, str(first.path(bundles.MLLM))
    elif Path(place).is_dir():
        name = Path(place).resolve().name
    try:
        return _load(name, folder, bundle_list, device)
    except (OSError, ValueError) as error:
        log.debug("loading the language model failed", exc_info=error)
        raise UsageError(
            f"there is no language model to load at {folder}: {str(error).splitlines()[0]}",
            hint="name a folder in Hugging Face form, with safetensors, or a hub id",
        ) from error


def _load(name: str, folder: str, bundle_list: Sequence[Bundle], device: torch.device) -> Backend:
    # A progress bar belongs to a terminal, not to a log.
    disable_progress_bar()
    trusted: dict[str, Any] = {"trust_remote_code": False}
    config = AutoConfig.from_pretrained(folder, **trusted)
    processor = AutoProcessor.from_pretrained(folder, **trusted)
    tower = getattr(getattr(config, "vision_config", None), "model_type", "")
    is_llava = config.model_type == "llava" and tower in TOWERS
    loader = LlavaForConditionalGeneration if is_llava else AutoModelForImageTextToText
    model = loader.from_pretrained(
        folder,
        dtype=torch.float32 if device.type == "cpu" else "auto",
        use_safetensors=True,
        **trusted,
    )
    model = model.to(device).eval()
    if is_llava:
        return Llava(name, model, processor, bundle_list)
    return ImageText(name, model, processor)
