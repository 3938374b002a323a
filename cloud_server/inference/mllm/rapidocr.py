"""A reader of print as a model: RapidOCR, whose networks come inside its package (extra `reading`).

    decoded picture --Reader--> lines of print --RapidOcr--> the answer to any question

It needs no hub and no training: what stands on anyone's photograph of a sign or a receipt is a true
answer. It does nothing else, and each answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import Answer, Finish, GenerationRequest, Turn, VisualInput
from shared.errors import UsageError
from shared.libraries import import_onnxruntime
from shared.schemas import View

PACKAGE: Final = "rapidocr-onnxruntime"
NAME: Final = "rapidocr"
"""What `--mllm` calls it."""

FOUND: Final = "I only read print. It says:"
NOTHING: Final = "I only read print, and there is none here that I can read."

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
    """The package as it comes, with its own settings, on so many threads."""

    def __init__(self, threads: int) -> None:
        """Raises UsageError where the package is not installed."""
        try:
            package = import_onnxruntime("rapidocr_onnxruntime")
        except ImportError as error:
            raise UsageError(
                f"the package {PACKAGE} cannot be imported: {error}",
                hint="pip install 'cotam[reading]' (Python 3.12 at most)",
            ) from error
        self._read: Any = package.RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(self, picture: NDArray[np.uint8]) -> list[ReadLine]:
        """The lines of a picture u8 [H, W, 3] sRGB, from the top down as the reader orders them."""
        lines, _ = self._read(np.ascontiguousarray(picture[:, :, ::-1]))  # it takes BGR
        return [
            ReadLine(text, tuple((float(x), float(y)) for x, y in quad), float(sure))
            for quad, text, sure in lines or ()
        ]


class RapidOcr:
    """The reader as a Backend: whatever is asked, it answers with the print that it reads."""

    name = NAME
    resolution = 768
    see_clip = None

    def __init__(self) -> None:
        self._reader = Reader(torch.get_num_threads())

    def view(self, bundle_id: bytes) -> View:
        """Always the decoded picture."""
        return "picture"

    def check(self, turns: Sequence[Turn], max_new_tokens: int) -> None:
        """Any prompt will do, for none is read."""

    def see(self, pictures: Sequence[Decoded]) -> list[VisualInput]:
        """`content` is the rows of the answer."""
        return [self._read(picture) for picture in pictures]

    def answer(self, requests: Sequence[GenerationRequest]) -> None:
        """The print of each picture, row by row; a token is a row here."""
        for request in requests:
            content = _named_rows([visual.content for visual in request.visuals])
            rows = content[: request.max_new_tokens]
            text = "\n".join(rows)
            request.sink.text(text)
            finish: Finish = "stop" if len(rows) == len(content) else "length"
            request.sink.finish(Answer(text, 0, len(rows), finish))

    def _read(self, decoded: Decoded) -> VisualInput:
        rows = _rows(self._reader.read(decoded.picture))
        content = [FOUND, *rows] if rows else [NOTHING]
        return VisualInput("picture", content, sum(len(row.encode()) for row in content))


def _named_rows(contents: Sequence[list[str]]) -> list[str]:
    """The rows of all pictures; each of several is named by its number."""
    if len(contents) == 1:
        return contents[0]
    return [
        row
        for number, rows in enumerate(contents, 1)
        for row in (f"Picture {number}: {rows[0]}", *rows[1:])
    ]


def _rows(lines: Sequence[ReadLine]) -> list[str]:
    """What stands side by side in one row, such as a thing and its price, with a gap between."""
    rows: list[list[ReadLine]] = []
    for line in sorted(lines, key=_middle):
        if rows and _middle(line) - _middle(rows[-1][0]) < _height(rows[-1][0]) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return ["  ".join(line.text for line in sorted(row, key=_left)) for row in rows]


def _middle(line: ReadLine) -> float:
    return sum(y for _, y in line.quad) / 4


def _left(line: ReadLine) -> float:
    return min(x for x, _ in line.quad)


def _height(line: ReadLine) -> float:
    (_, top), _, _, (_, bottom) = line.quad
    return abs(bottom - top)
