"""What libraries are kept from doing on their own: reporting home, starting programs, spinning."""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

PICTURE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM")
"""What Pillow may take a file for, by its content. For others it starts programs: Ghostscript for
PostScript, which may run for ever, whatever the file is called."""


def import_onnxruntime(module: str = "onnxruntime") -> Any:
    """onnxruntime, or a module that imports it, with its telemetry off.

    From 1.29 on it writes a device id and a database below the user's cache and reports each
    session to its makers. The variable is read once, when it is first imported; the call after it
    is for Windows, which has telemetry of its own.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    loaded = importlib.import_module(module)
    importlib.import_module("onnxruntime").disable_telemetry_events()
    return loaded


def wait_passively() -> None:
    """Let threads of OpenMP sleep while they wait. To be called before torch is imported.

    They spin by default: where another process has a core, each step then waits until the
    scheduler takes it from the thread that spins. What the environment says is left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
