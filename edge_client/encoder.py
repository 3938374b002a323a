"""The edge's half of the codec.

    picture u8 [H, W, 3] --guidance.onnx--> level map --+
        |                                               |
        `--encoder.onnx--> latent [C, h, w] ------------+--entropy network, ANS--> Bitstream

The transform runs once a picture (`analyse`); coding its latents at some quality (`Analysed.code`)
is the cheap part and can be repeated.
"""

from __future__ import annotations

import math
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
from shared.level_map import STRIDE, LevelMap, flat_codes, latent_shape
from shared.tiles import spans

MAX_QUALITY: Final = MAX_QUALITY_CODE / 20
WHOLE: Final = 1152  # pixels a side of what the transform takes in one piece, which is quickest
TILE: Final = 512  # pixels a side of what it takes at a time of larger pictures
MARGIN: Final = 64  # pixels around a tile that it sees: 8 a block, of which `tiny` has 4
BUDGET_SLACK: Final = 0.05
MOST_PASSES: Final = 6
BOLDER: Final = 1.2  # times the way to the aim, for whoever missed it twice on the same side
MOST_WRONG: Final = 2.5  # times the expected growth
COUNTED_EVERY: Final = 20  # codes
BYTES_OF_VALUE: Final = 0.58  # what a latent value that is not zero takes, all zeros included
BYTES_OF_CODE: Final = 0.003  # what a latent position takes more in each code, of hyper latent
BYTES_OF_NONE: Final = 24  # what is not of values: container, level map, the start of the coder


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
        """The best stream of at most `budget` bytes that at most 6 coding passes find.

        It fills at least 95 % of the budget where the picture has a quality that does: not where
        the best quality is smaller, nor where streams are so short that one step is a jump. Sizes
        of noise jump so often that the search misses some two budgets in a hundred there.
        Raises UsageError, which names the smallest possible size, where the budget is below it.
        """
        with _timed(self.timings_ms, "coding"):
            search = _Search(budget, self._expected_sizes())
            best, most = None, 0
            while (code := search.next_code()) is not None:
                stream = self._code(code)
                size = search.sizes[code] = len(stream.to_bytes())
                if most < size <= budget:
                    best, most = stream, size
        if best is None:
            raise UsageError(
                f"the picture does not fit into {budget} bytes: the smallest possible stream "
                f"has {min(search.sizes.values())}",
                hint="raise the budget, lower --resolution"
                + ("" if self.level_map is None else " or leave the guidance out"),
            )
        return best

    def _expected_sizes(self) -> NDArray[np.float64]:
        """Bytes f64 [181] of a stream at each code, about, told from its zeros; they rise.

        Bits are nearly linear in the number of values that are not zero: He and Mitra, "Optimum
        bit allocation and accurate rate control for video coding via rho-domain source modeling"
        (IEEE Transactions on Circuits and Systems for Video Technology, 2002).
        """
        every = np.arange(MAX_QUALITY_CODE + 1)
        counted = every[::COUNTED_EVERY]
        values = [self.model.significant(self.latent, self._codes(int(c))) for c in counted]
        positions = self.latent.shape[1] * self.latent.shape[2]
        # Learnt gains need not rise in every channel; what the search stands on has to.
        rising = np.maximum.accumulate(values)
        of_values: NDArray[np.float64] = BYTES_OF_VALUE * np.interp(every, counted, rising)
        return BYTES_OF_NONE + of_values + BYTES_OF_CODE * positions * every

    def _codes(self, code: int) -> NDArray[np.int32]:
        """Quality codes i32 [h, w] of the latents at a base code."""
        if self.level_map is None:
            return flat_codes(code, self.width, self.height)
        return self.level_map.codes(code, self.width, self.height)

    def _code(self, code: int) -> Bitstream:
        payload = b"" if self.level_map is None else self.level_map.encode()
        encoded = self.model.encode(self.latent, self._codes(code), code)
        return Bitstream(
            bundle_id=self.bundle_id,
            width=self.width,
            height=self.height,
            quality_code=code,
            check=encoded.check,
            level_map=payload,
            latents=encoded.payload,
        )


class _Search:
    """Where the next coding pass should look for a quality that fills a budget.

    `expected` f64 [181]: the size at each code as far as it can be told without coding, which says
    where to begin, and where to go on while all sizes are too small, or all too large. Between two
    ends the logarithm of sizes is nearly straight over the code, but jagged: one code more may be a
    few bytes less.
    """

    def __init__(self, budget: int, expected: NDArray[np.float64]) -> None:
        self.sizes: dict[int, int] = {}  # bytes by code, of the passes so far
        self._budget, self._expected = budget, expected
        self._aim = budget * (1 - BUDGET_SLACK / 2)

    def next_code(self) -> int | None:
        """A code that was not tried, or None where another pass would gain nothing."""
        sizes, budget = self.sizes, self._budget
        filled = any(budget * (1 - BUDGET_SLACK) <= size <= budget for size in sizes.values())
        too_small = sizes.get(0, 0) * (1 - BUDGET_SLACK) > budget  # no other is so much shorter
        too_large = sizes.get(MAX_QUALITY_CODE, budget + 1) <= budget
        if filled or too_small or too_large or len(sizes) == MOST_PASSES:
            return None
        high = min((code for code, size in sizes.items() if size > budget), default=None)
        low = max((code for code in sizes if high is None or code < high), default=None)
        if low is None and 0 not in sizes and len(sizes) == MOST_PASSES - 1:
            return 0  # of all the likeliest to fit, and what an error has to name
        wanted = self._wanted(low, high)
        untried = (code for code in range(MAX_QUALITY_CODE + 1) if code not in sizes)
        return min(untried, key=lambda code: abs(code - wanted))

    def _wanted(self, low: int | None, high: int | None) -> float:
        """The code that the sizes so far speak for; low fits, high does not, None: no such."""
        sizes, expected = self.sizes, self._expected
        if low is not None and high is not None:
            share = math.log(self._aim / sizes[low]) / math.log(sizes[high] / sizes[low])
            return low + share * (high - low)
        if sizes:
            end, *others = sorted(sizes, reverse=high is None)
            change = self._aim - sizes[end]
            if others:
                slope = (sizes[others[0]] - sizes[end]) / (expected[others[0]] - expected[end])
                change *= BOLDER / min(max(slope, 1 / MOST_WRONG), MOST_WRONG)
            size = expected[end] + change
        else:
            size = self._aim
        return float(np.interp(size, expected, np.arange(len(expected))))


class Encoder:
    """Codes pictures with the edge part of a bundle.

    `threads`: of onnxruntime; default: all cores that this process may use.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        self._threads = threads or _cores()
        self._session = self._open(ENCODER)
        self._guide = Guide(bundle, self._open(GUIDANCE), self._threads)
        self._model = EntropyModel.load(bundle.path(ENTROPY))

    def analyse(self, picture: Picture, guidance: bool = True) -> Analysed:
        """Run guidance and transform on a picture u8 [H, W, 3]."""
        height, width = picture.shape[:2]
        timings: dict[str, float] = {}
        level_map = None
        if guidance:
            with _timed(timings, "guidance"):
                level_map = self._guide(picture)[1]
            if level_map.values.min() == level_map.values.max():
                level_map = None
        with _timed(timings, "analysis"):
            latent = self._transform(picture)
        return Analysed(width, height, latent, level_map, self._model, self.bundle.id, timings)

    def guide(self, picture: Picture) -> tuple[NDArray[np.float32], LevelMap]:
        """Importance f32 [rows, columns] of the cells of a picture, and the map that it becomes."""
        return self._guide(picture)

    def _transform(self, picture: Picture) -> NDArray[np.float32]:
        """Latent f32 [C, h, w]. Tiles see as far as the transform does: they leave no seams."""
        height, width = picture.shape[:2]
        if max(height, width) <= WHOLE:
            return self._run(picture)
        rows, columns = latent_shape(width, height)
        # Channels last, as the entropy model takes it without a copy.
        latent = np.empty((rows, columns, self.bundle.manifest.latent_channels), np.float32)
        for down in spans(rows * STRIDE, TILE, MARGIN):
            for across in spans(columns * STRIDE, TILE, MARGIN):
                found = self._run(picture[down.low : down.high, across.low : across.high])
                top, left = (down.start - down.low) // STRIDE, (across.start - across.low) // STRIDE
                place = latent[
                    down.start // STRIDE : down.stop // STRIDE,
                    across.start // STRIDE : across.stop // STRIDE,
                ]
                high, wide = place.shape[:2]
                place[:] = np.moveaxis(found[:, top : top + high, left : left + wide], 0, -1)
        return np.moveaxis(latent, -1, 0)

    def _run(self, picture: Picture) -> NDArray[np.float32]:
        latent: NDArray[np.float32] = self._session.run(None, {"picture": _planes(picture)})[0][0]
        return latent

    def _open(self, name: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # Threads that wait by spinning take a core from what runs next, and a battery's charge.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
