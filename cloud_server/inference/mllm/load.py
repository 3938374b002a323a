"""Finds a model: a folder, a hub id, the address of another server, or a reader of print.

Of a folder or hub id only safetensors are read, and no code of it is run.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    LlavaForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from cloud_server.inference.mllm import rapidocr
from cloud_server.inference.mllm.base import Backend
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.llava import Llava
from cloud_server.inference.mllm.tower import TOWERS, Tower
from cloud_server.inference.mllm.upstream import Upstream, UpstreamOptions
from shared import bundle as bundles
from shared.bundle import Bundle
from shared.errors import CotamError, UsageError
from shared.tower import same_tower

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Quantise = Literal["none", "int8", "nf4"]

NOT_QUANTISED: Final = (r".*(vision|visual|projector).*", "lm_head")
"""Modules that keep their weights: adapters were trained for the tower as it is."""
_TRUSTED: Final[dict[str, Any]] = {"trust_remote_code": False}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """How weights are held.

    dtype: "auto" is float32 on a CPU; on a GPU what the checkpoint has, bfloat16 for float32.
    quantise: the language model's layers to 8 or 4 bits, by bitsandbytes.
    """

    dtype: Dtype = "auto"
    quantise: Quantise = "none"


def load_backend(
    place: str,
    bundle_list: Sequence[Bundle],
    device: torch.device,
    upstream: UpstreamOptions,
    weights: Weights | None = None,
) -> Backend:
    """The model at `place`, or that of a bundle where it is empty.

    Raises UsageError where there is no model that transformers can load, UpstreamError where an
    address does not answer.
    """
    weights = weights or Weights()
    _check(weights)
    if place.startswith(("http://", "https://")):
        tower = None
        if upstream.tower:
            with _named(upstream.tower, "vision tower"):
                tower = load_tower(upstream.tower, bundle_list, device, weights)
        return Upstream(place, upstream, tower=tower)
    if place == rapidocr.NAME and not Path(place).exists():
        return rapidocr.RapidOcr()
    name, folder = place.rstrip("/"), place
    if not place:
        holder = _with_model(bundle_list)
        name, folder = holder.manifest.name, str(holder.path(bundles.MLLM))
    elif os.path.isdir(place):  # noqa: PTH112 -- false, not an error, for names that cannot be
        name = Path(place).resolve().name
    with _named(folder, "language model"):
        return _load(name, folder, bundle_list, device, weights)


def _with_model(bundle_list: Sequence[Bundle]) -> Bundle:
    """The first bundle with a language model; failing that, the embedded one of the same tower.

    Raises UsageError where no such bundle is here.
    """
    for bundle in bundle_list:
        if bundle.has(bundles.MLLM):
            return bundle
    embedded = bundles.embedded()
    for bundle in bundle_list:
        if same_tower(bundle.manifest.tower.fingerprint, embedded.manifest.tower.fingerprint):
            return embedded
    names = ",".join(bundle.manifest.name for bundle in bundle_list)
    raise UsageError(
        f"no language model is in {names}",
        hint="--mllm FOLDER, a hub id, or the address of a server",
    )


def load_tower(
    folder: str, bundle_list: Sequence[Bundle], device: torch.device, weights: Weights
) -> Tower:
    """The tower and projector of a LLaVA, without the layers of its language model.

    Raises ValueError for another kind of model, OSError where there is none.
    """
    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, **_TRUSTED)
    if not _is_llava(config):
        raise ValueError(f"it is a {config.model_type}, not a LLaVA with a tower of a fixed square")
    config.text_config.num_hidden_layers = 0
    # Its layers are in the files and have no place here: that is meant, and no warning.
    quiet = logging.getLogger("transformers.modeling_utils")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        model = LlavaForConditionalGeneration.from_pretrained(
            folder,
            config=config,
            dtype=_dtype(weights, config, device),
            use_safetensors=True,
            **_TRUSTED,
        )
    finally:
        quiet.setLevel(level)
    processor = AutoProcessor.from_pretrained(folder, **_TRUSTED)
    return Tower(model.to(device).eval(), processor, bundle_list)


def _load(
    name: str,
    folder: str,
    bundle_list: Sequence[Bundle],
    device: torch.device,
    weights: Weights,
) -> Backend:
    # A progress bar belongs to a terminal, not to a log.
    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, **_TRUSTED)
    processor = AutoProcessor.from_pretrained(folder, **_TRUSTED)
    is_llava = _is_llava(config)
    loader = LlavaForConditionalGeneration if is_llava else AutoModelForImageTextToText
    placed = {}
    if weights.quantise != "none":
        placed = {"quantization_config": _quantised(weights.quantise), "device_map": {"": device}}
    model = loader.from_pretrained(
        folder,
        dtype=_dtype(weights, config, device),
        use_safetensors=True,
        **placed,
        **_TRUSTED,
    )
    model = model.eval() if placed else model.to(device).eval()
    if is_llava:
        return Llava(name, model, processor, bundle_list)
    return ImageText(name, model, processor)


def _is_llava(config: Any) -> bool:
    tower = getattr(getattr(config, "vision_config", None), "model_type", "")
    return config.model_type == "llava" and tower in TOWERS


def _dtype(weights: Weights, config: Any, device: torch.device) -> torch.dtype:
    if weights.dtype != "auto":
        return getattr(torch, weights.dtype)
    if weights.quantise == "int8":
        return torch.float16  # what its kernels compute in
    if device.type == "cpu":
        return torch.float32
    stored = getattr(config, "dtype", None) or torch.float32
    return torch.bfloat16 if stored == torch.float32 else stored


def _quantised(how: Quantise) -> BitsAndBytesConfig:
    kept = list(NOT_QUANTISED)
    if how == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=kept,
    )


def _check(weights: Weights) -> None:
    if weights.quantise != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            f"COTAM_QUANTISE is {weights.quantise!r}, which needs bitsandbytes",
            hint="pip install 'cotam[quantised]'",
        )


@contextmanager
def _named(folder: str, what: str) -> Iterator[None]:
    """Turn what transformers raises for a folder into one line; that may be anything."""
    try:
        yield
    except CotamError:
        raise
    except Exception as error:
        log.debug("loading the %s failed", what, exc_info=error)
        reason = (str(error).splitlines() or [""])[0]
        if not isinstance(error, OSError | ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise UsageError(
            f"there is no {what} to load at {folder[:256]}: {reason[:256]}",
            hint="name a folder in Hugging Face form, with safetensors, or a hub id",
        ) from error
