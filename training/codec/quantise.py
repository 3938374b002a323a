"""The edge's graphs in 8 bits: half the time on processors with dot products of bytes.

What both ends must agree on is not here: the transform and the importance map are the encoder's own
affair, and any latent can be coded exactly.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from shared.libraries import import_onnxruntime
from training.loop.pictures import photographs, random_crop

CROPS = 24
CROP = 192
FLOAT = ("/linear/Conv", "/enter/Conv", "/leave/Conv")
"""The linear path and both ends of the residual one: a tenth of the work, a third of the error."""


@contextmanager
def _quietly() -> Iterator[None]:
    # The quantiser warns by the root logger of what it does by itself.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


@_quietly()
def quantise_encoder(path: Path, photos: Path) -> None:
    """Replace a float encoder.onnx; ranges of activations are those on crops of photographs.

    Weights have 7 bits: 8 can overflow on x86 without VNNI, and are no better here.
    """
    quantization = import_onnxruntime("onnxruntime.quantization")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        quantization.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        missing = {*FLOAT} - {node.name for node in onnx.load(str(prepared)).graph.node}
        if missing:
            raise ValueError(f"{path.name} has no node {', '.join(sorted(missing))}")
        quantization.quantize_static(
            str(prepared),
            str(path),
            _Crops(photos),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu", "Mul"],
            nodes_to_exclude=[*FLOAT],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


@_quietly()
def quantise_guidance(path: Path) -> None:
    """Replace a float guidance.onnx; ranges of activations are found as it runs.

    The patch embedding stays in float: integer convolutions take five times as long.
    """
    quantization = import_onnxruntime("onnxruntime.quantization")
    quantization.quantize_dynamic(
        str(path),
        str(path),
        op_types_to_quantize=["MatMul", "Gemm"],
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )


class _Crops:
    """Always the same crops of a folder's photographs: what the quantiser calls a data reader."""

    def __init__(self, photos: Path) -> None:
        chance = np.random.default_rng(0)
        pictures = photographs(photos, "train")
        crops = [random_crop(pictures, CROP, chance) for _ in range(CROPS)]
        planes = [crop.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / 255 for crop in crops]
        self._left = iter([{"picture": each} for each in planes])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._left, None)
