"""lmms-eval with CoTAM between each picture and the model: `--model cotam`, and Scenes as a task.

Its entry point `cotam` of `lmms_eval.models` calls `manifest`. Importing this package does nothing.
"""

from __future__ import annotations

from typing import Any, Final

SUPPORTED: Final = ("0.7.3",)
"""Versions of lmms-eval that this was seen to work with."""


def manifest() -> Any:
    """What lmms-eval registers: a `ModelManifest` of its own."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("cotam", simple_class_path="plugins.lmms_eval.model.Cotam")
