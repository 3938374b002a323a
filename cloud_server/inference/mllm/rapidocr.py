"""A reader of print: RapidOCR, whose networks come inside its package (extra `reading`).

It needs no hub and no training: what stands on anyone's photograph of a sign or a receipt is a true
answer. It does nothing else, and says so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import UsageError

PACKAGE: Final = "rapidocr-onnxruntime"

Quad = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ReadLine:
    """One line as it was read.

    quad: its corners from the top left clockwise, x then y, in pixels.
    sure: how sure the reader is, 0..1.
    """

    text: str
    quad: Quad
    sure: float


class Reader:
    """The package as it comes, with its own settings.

    Raises UsageError where it is not installed.
    """

    def __init__(self, threads: int = 0) -> None:
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise UsageError(
                f"the package {PACKAGE} is not installed", hint="pip install 'cotam[reading]'"
            ) from error
        count = min(threads or os.cpu_count() or 1, os.cpu_count() or 1)
        self._read: Any = RapidOCR(intra_op_num_threads=count, inter_op_num_threads=1)

    def read(self, picture: NDArray[np.uint8]) -> list[ReadLine]:
        """The lines of a picture u8 [H, W, 3] sRGB, from the top down as the reader orders them."""
        lines, _ = self._read(np.ascontiguousarray(picture[:, :, ::-1]))  # it takes BGR
        return [
            ReadLine(text, tuple((float(x), float(y)) for x, y in quad), float(sure))
            for quad, text, sure in lines or ()
        ]
