"""A vLLM that takes streams: `data:application/vnd.cotam;base64,...` in `image_url`.

Installed beside vLLM, this package's entry point `cotam` of `vllm.general_plugins` calls `register`
in each of its processes. vLLM opens pictures with Pillow, whatever the media type says, but only in
the formats of a list of its own, which has to gain ours.
"""

from __future__ import annotations

import importlib
import logging

from plugins.pillow import FORMAT

SUPPORTED = ("0.32.0",)
"""Versions of vLLM that this was seen to work with."""

logger = logging.getLogger("cotam.vllm")


def register() -> None:
    """Let vLLM open streams. May be called any number of times.

    Where a version of vLLM keeps its list elsewhere, one line in the log says so and vLLM runs on
    as it was.
    """
    try:
        image = importlib.import_module("vllm.multimodal.image")
        formats = tuple(image.ALLOWED_IMAGE_FORMATS)
    except (ImportError, AttributeError, TypeError):
        logger.warning(
            "this vLLM has no vllm.multimodal.image.ALLOWED_IMAGE_FORMATS: it does not take CoTAM "
            "streams (seen to work with %s)",
            ", ".join(SUPPORTED),
        )
        return
    if FORMAT not in formats:
        image.ALLOWED_IMAGE_FORMATS = (*formats, FORMAT)  # type: ignore[attr-defined]
