"""The edge's half of the codec.

    picture u8 [H, W, 3] --guidance.onnx--> level map --+
        |                                               |
        `--encoder.onnx--> latent [C, h, w] ------------+--entropy network, ANS--> Bitstream

The transform runs once a picture (`analyse`); coding its latents at some quality (`Analysed.code`)
is the cheap part and can be repeated.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_client.guidance import Guide
from edge_client.images import Picture
from shared.bitstream import MAX_QUALITY_CODE, Bitstream
from shared.bundle import ENCODER, ENTROPY, GUIDANCE, Bundle
from shared.entropy_model import EntropyModel
from shared.errors import UsageError
from shared.level_map import STRIDE, LevelMap, flat_codes

MAX_QUALITY: Final = MAX_QUALITY_CODE / 20
BUDGET_PASSES: Final = 6
BUDGET_SLACK: Final = 0.05


@dataclass
class Analysed:
    """A picture after the transform: everything but the entropy coding.

    latent: f32 [C, h, w] in 8-bit units. level_map: None where all cells have the same quality.
    timings_ms: milliseconds of each stage, coding added by each `code`.
    """

    width: int
    height: int
    latent: NDArray[np.float32]
    level_map: LevelMap | None
    model: EntropyModel
    bundle_id: bytes
    timings_ms: dict[str, float] = field(default_factory=dict)

    def code(self, quality: float) -> Bitstream:
        """The stream at a quality of 0 (smallest) to 9 (best). Raises UsageError outside."""
        if not 0.0 <= quality <= MAX_QUALITY:
            raise UsageError(
                f"the quality is {quality:g}", hint=f"0 to {MAX_QUALITY:g} can be coded"
            )
        with _timed(self.timings_ms, "coding"):
            return self._code(round(quality * 20))

    def code_within(self, budget: int) -> Bitstream:
        """The best stream of at most `budget` bytes, in at most 6 coding passes.

        Sizes grow with quality, so the quality is found between two sizes that are known, the
        logarithm of the size taken as linear there. Raises UsageError, which names the smallest
        possible size, where the budget is below it.
        """
        low, high = 0, MAX_QUALITY_CODE
        with _timed(self.timings_ms, "coding"):
            best = self._code(low)
            sizes = {low: len(best.to_bytes())}
            if sizes[low] > budget:
                raise UsageError(
                    f"the picture does not fit into {budget} bytes: the smallest possible stream "
                    f"has {sizes[low]}",
                    hint="raise the budget or lower --resolution",
                )
            for _ in range(BUDGET_PASSES - 1):
                if high - low <= 1 or sizes[low] >= budget * (1 - BUDGET_SLACK):
                    break
                code = _guess(low, high, sizes, budget)
                stream = self._code(code)
                sizes[code] = len(stream.to_bytes())
                if sizes[code] <= budget:
                    low, best = code, stream
                else:
                    high = code
                if low == MAX_QUALITY_CODE:
                    break
        return best

    def _code(self, code: int) -> Bitstream:
        if self.level_map is None:
            codes, payload = flat_codes(code, self.width, self.height), b""
        else:
            codes = self.level_map.codes(code, self.width, self.height)
            payload = self.level_map.encode()
        encoded = self.model.encode(self.latent, codes, code)
        return Bitstream(
            bundle_id=self.bundle_id,
            width=self.width,
            height=self.height,
            quality_code=code,
            check=encoded.check,
            level_map=payload,
            latents=encoded.payload,
        )


def _guess(low: int, high: int, sizes: dict[int, int], budget: int) -> int:
    """A code strictly between `low` and `high`, or the top where its size is not known yet."""
    if high not in sizes:
        # Measured on photographs: a step of quality multiplies the size by about 1.45.
        step = np.log(budget / sizes[low]) / np.log(1.45) * 20
        return int(np.clip(low + round(step * 0.98), low + 1, high))
    span = np.log(sizes[high] / sizes[low])
    share = np.log(budget * (1 - BUDGET_SLACK / 2) / sizes[low]) / span if span > 0 else 0.5
    return int(np.clip(low + round(share * (high - low)), low + 1, high - 1))


class Encoder:
    """Codes pictures with the edge part of a bundle.

    `threads`: of onnxruntime; default: all cores that this process may use.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        self._threads = threads or _cores()
        self._session = self._open(ENCODER)
        self._guide = Guide(bundle, self._open(GUIDANCE))
        self._model = EntropyModel.load(bundle.path(ENTROPY))

    def analyse(self, picture: Picture, guidance: bool = True) -> Analysed:
        """Run guidance and transform on a picture u8 [H, W, 3]."""
        height, width = picture.shape[:2]
        timings: dict[str, float] = {}
        level_map = None
        if guidance:
            with _timed(timings, "guidance"):
                level_map = self._guide.level_map(picture)
            if (level_map.values == level_map.levels // 2).all():
                level_map = None
        with _timed(timings, "analysis"):
            latent = self._session.run(None, {"picture": _planes(picture)})[0][0]
        return Analysed(width, height, latent, level_map, self._model, self.bundle.id, timings)

    def importance(self, picture: Picture) -> NDArray[np.float32]:
        """The importance map f32 [rows, columns] that the level map is made of."""
        return self._guide.importance(picture)

    def _open(self, name: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            str(self.bundle.path(name)), options, providers=["CPUExecutionProvider"]
        )


def _cores() -> int:
    """Cores that this process may use; all of the machine where the system does not say."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _planes(picture: Picture) -> NDArray[np.float32]:
    """f32 [1, 3, 16h, 16w] in 0..1, the last row and column repeated up to full latents."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1)).astype(np.float32)
    planes *= np.float32(1 / 255)
    return planes[np.newaxis]


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = timings.get(name, 0.0) + 1000 * (time.perf_counter() - start)
