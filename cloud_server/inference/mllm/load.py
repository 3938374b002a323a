"""Finds a model: a folder, a hub id, the address of another server, or a reader of print.

Of a folder or hub id only safetensors are read, and no code of it is run.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
)
from transformers.utils.logging import disable_progress_bar

from cloud_server.inference.mllm import rapidocr
from cloud_server.inference.mllm.base import Backend
from cloud_server.inference.mllm.image_text import ImageText
from cloud_server.inference.mllm.plain import Plain
from cloud_server.inference.mllm.tower import Tower
from cloud_server.inference.mllm.upstream import Upstream, UpstreamOptions
from shared import bundle as bundles
from shared.bundle import Bundle
from shared.errors import UsageError
from shared.nets.fast_synthesis import Precision
from shared.nets.model_files import SAFE, load_vision, named
from shared.tower import same_tower

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Quantise = Literal["none", "int8", "nf4"]

NOT_QUANTISED: Final = (r".*(vision|visual|projector).*", "lm_head")
"""Modules that keep their weights: adapters were trained for the tower as it is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """How weights are held.

    dtype: "auto" is float32 on a CPU; on a GPU what the checkpoint has, bfloat16 for float32.
    quantise: the language model's layers to 8 or 4 bits, by bitsandbytes.
    adapter: of our adapters, as of the synthesis.
    """

    dtype: Dtype = "auto"
    quantise: Quantise = "none"
    adapter: Precision = "auto"


def load_backend(
    place: str,
    bundle_list: Sequence[Bundle],
    device: torch.device,
    upstream: UpstreamOptions,
    weights: Weights | None = None,
    keep: float = 1.0,
) -> Backend:
    """The model at `place`, or that of a bundle where it is empty.

    keep: share of a picture's tokens that it reads, where it is known where they look.

    Raises UsageError where there is no model that transformers can load, UpstreamError where an
    address does not answer.
    """
    weights = weights or Weights()
    _check(weights)
    backend = _backend(place, bundle_list, device, upstream, weights, keep)
    if keep < 1 and not (isinstance(backend, ImageText) and backend.tower.prunes):
        log.warning(
            "COTAM_KEEP_TOKENS is %g, and %s reads all tokens: it is not known here where they "
            "look",
            keep,
            backend.name,
        )
    return backend


def _backend(
    place: str,
    bundle_list: Sequence[Bundle],
    device: torch.device,
    upstream: UpstreamOptions,
    weights: Weights,
    keep: float,
) -> Backend:
    if place.startswith(("http://", "https://")):
        tower = None
        if upstream.tower:
            vision = load_vision(upstream.tower, device, _dtype(weights, None, device))
            if vision.config.model_type != "llava":
                raise UsageError(
                    f"{upstream.tower} is a {vision.config.model_type}: such a server takes "
                    "features of a LLaVA with one square a picture alone",
                    hint="leave COTAM_UPSTREAM_TOWER empty: it then gets pictures",
                )
            tower = Tower(vision, bundle_list, weights.adapter)
        return Upstream(place, upstream, tower=tower)
    if place == rapidocr.NAME and not Path(place).exists():
        return rapidocr.RapidOcr()
    name, folder = place.rstrip("/"), place
    if not place:
        holder = _with_model(bundle_list)
        name, folder = holder.manifest.name, str(holder.path(bundles.MLLM))
    elif os.path.isdir(place):  # noqa: PTH112 -- false, not an error, for names that cannot be
        name = Path(place).resolve().name
    with named(folder, "language model"):
        return _load(name, folder, bundle_list, device, weights, keep)


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


def _load(
    name: str,
    folder: str,
    bundle_list: Sequence[Bundle],
    device: torch.device,
    weights: Weights,
    keep: float,
) -> Backend:
    # A progress bar belongs to a terminal, not to a log.
    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, **SAFE)
    processor = AutoProcessor.from_pretrained(folder, **SAFE)
    placed = {}
    if weights.quantise != "none":
        placed = {"quantization_config": _quantised(weights.quantise), "device_map": {"": device}}
    model = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=_dtype(weights, config, device),
        use_safetensors=True,
        **placed,
        **SAFE,
    )
    model = model.eval() if placed else model.to(device).eval()
    if not model._supports_mm_encoder_outputs():
        log.warning("a %s takes no features: adapters are not used", config.model_type)
        return Plain(name, model, processor)
    try:
        return ImageText(name, model, processor, bundle_list, weights.adapter, keep)
    except UsageError as error:
        log.warning("adapters are not used: %s", error)
        return Plain(name, model, processor)


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
