"""The vision part of a model in Hugging Face form, without the layers of its language model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils.logging import disable_progress_bar

from shared.errors import CotamError, UsageError
from shared.nets.vision import Vision

SAFE: Final[dict[str, Any]] = {"trust_remote_code": False}
"""Of a folder or hub id only safetensors are read, and no code of it is run."""

log = logging.getLogger(__name__)


def load_vision(place: str, device: torch.device, dtype: torch.dtype) -> Vision:
    """Tower, projector and processor of the image-text model at a folder or hub id.

    Raises UsageError where there is none, or none with a vision tower that is known.
    """
    disable_progress_bar()  # it belongs to a terminal, not to a log
    with named(place, "vision tower"):
        config = AutoConfig.from_pretrained(place, **SAFE)
        without_layers(place, config)
        # Its layers are in the files and have no place here: that is meant, and no warning.
        with _quiet("transformers.modeling_utils", "transformers.distributed.tensor_parallel"):
            model = AutoModelForImageTextToText.from_pretrained(
                place, config=config, dtype=dtype, use_safetensors=True, **SAFE
            )
        processor = AutoProcessor.from_pretrained(place, **SAFE)
    return Vision(model.to(device).eval(), processor)


def without_layers(place: str, config: Any) -> Any:
    """Take the layers of the language model out of a configuration, which is returned.

    Raises UsageError for a model without a vision tower.
    """
    if not hasattr(config, "vision_config"):
        raise UsageError(
            f"{place} holds a {config.model_type}, which has no vision tower",
            hint="name an image-text model: a LLaVA, InternVL, Qwen-VL or one like them",
        )
    text = config.get_text_config()
    text.num_hidden_layers = 0
    if getattr(text, "layer_types", None):
        text.layer_types = []
    return config


@contextmanager
def named(place: str, what: str) -> Iterator[None]:
    """Turn what transformers raises for a folder or hub id into a UsageError of one line.

    That may be anything.
    """
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
            f"there is no {what} to load at {place[:256]}: {reason[:256]}",
            hint="name a folder in Hugging Face form, with safetensors, or a hub id",
        ) from error


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
