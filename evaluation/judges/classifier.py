"""A classifier that somebody else trained, from a file: TensorFlow Lite or ONNX."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import UsageError
from shared.libraries import import_onnxruntime

Range = Literal["signed", "unit", "imagenet"]
RANGES: Final[tuple[Range, ...]] = ("signed", "unit", "imagenet")
"""What a network of floats is given: -1..1, 0..1, or ImageNet's mean and deviation taken out."""

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)

Array = NDArray[Any]


class Classifier:
    """Probabilities of classes for a picture of any size, which is squeezed to what it takes."""

    def __init__(self, file: Path, values: Range = "signed", threads: int = 1) -> None:
        """Raises UsageError where the file is no classifier that can be run."""
        if not file.is_file():
            raise UsageError(f"{file} is no file", hint="name a classifier, .tflite or .onnx")
        self.name = file.name
        self.digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        self.values = values
        openers = {".tflite": _open_tflite, ".onnx": _open_onnx}
        if file.suffix not in openers:
            raise UsageError(f"{file} is neither .tflite nor .onnx", hint="convert the classifier")
        try:
            self._run, self._shape, self._is_bytes = openers[file.suffix](file, threads)
        except ImportError as error:
            raise UsageError(
                f"{file} cannot be run: {error}", hint="pip install 'cotam[eval]'"
            ) from error
        except Exception as error:  # both runtimes have their own errors for a broken file
            raise UsageError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
        if 3 not in (self._shape[1], self._shape[3]):
            raise UsageError(f"{file} takes {self._shape}, not one picture of three colours")

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probability of each class [N] for a picture u8 [H, W, 3]."""
        channels_first = self._shape[1] == 3
        height, width = self._shape[2:] if channels_first else self._shape[1:3]
        squeezed = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(squeezed)
        given = pixels if self._is_bytes else _scaled(pixels, self.values)
        if channels_first:
            given = np.ascontiguousarray(given.transpose(2, 0, 1))
        scores = self._run(given[None])
        if scores.min() < 0 or not 0.8 < scores.sum() < 1.2:  # 8 bits do not sum to 1 exactly
            scores = np.exp(scores - scores.max())
        return np.asarray(scores / scores.sum(), np.float64)


def _scaled(pixels: Array, values: Range) -> NDArray[np.float32]:
    unit = pixels.astype(np.float32) / 255
    if values == "unit":
        return unit
    if values == "signed":
        return 2 * unit - 1
    mean, deviation = (np.array(v, np.float32) for v in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return np.asarray((unit - mean) / deviation, np.float32)


Opened = tuple[Callable[[Array], Array], tuple[int, ...], bool]
"""From a batch of one to scores [N], the shape of the batch, and whether it is of bytes."""


def _open_tflite(file: Path, threads: int) -> Opened:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = given["quantization"]

    def run(batch: Array) -> Array:
        interpreter.set_tensor(taken["index"], batch)
        interpreter.invoke()
        raw: Array = interpreter.get_tensor(given["index"])[0].ravel().astype(np.float64)
        return np.asarray(scale * (raw - zero)) if scale else raw

    return run, tuple(int(side) for side in taken["shape"]), taken["dtype"] == np.uint8


def _open_onnx(file: Path, threads: int) -> Opened:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    shape = tuple(side if isinstance(side, int) else 1 for side in taken.shape)

    def run(batch: Array) -> Array:
        (scores,) = session.run([session.get_outputs()[0].name], {taken.name: batch})
        flat: Array = np.asarray(scores)[0].ravel().astype(np.float64)
        return flat

    return run, shape, taken.type == "tensor(uint8)"
