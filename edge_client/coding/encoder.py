"""The edge's half of the codec.

    picture u8 [H, W, 3] --guidance.onnx--> level map --+
        |                       .--print.onnx---^       |
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

from edge_client.coding.budget import Pass, Search
from edge_client.guidance.guide import Guide
from edge_client.guidance.print_map import PrintGuide
from edge_client.pictures.images import Picture
from shared.bitstream import MAX_QUALITY_CODE, Bitstream
from shared.bundle import ENCODER, ENTROPY, GUIDANCE, PRINT, Bundle
from shared.coding.integer_network import Before
from shared.coding.symbol_coder import BIT_PRICE
from shared.entropy_model import Encoded, EntropyModel
from shared.errors import UsageError
from shared.level_map import STRIDE, LevelMap, flat_codes, latent_shape
from shared.libraries import import_onnxruntime
from shared.tiles import spans

MAX_QUALITY: Final = MAX_QUALITY_CODE / 20
WHOLE: Final = 1152  # pixels a side of what the transform takes in one piece, which is quickest
TILE: Final = 512  # pixels a side of what it takes at a time of larger pictures
MARGIN: Final = 64  # pixels around a tile that it sees: 8 a block, of which `tiny` has 4
COUNTED_EVERY: Final = 20  # codes
BYTES_OF_VALUE: Final = 0.49  # what a latent value that is not zero takes, all zeros included
BYTES_OF_CODE: Final = 0.0005  # what a latent position takes more in each code, of hyper latent
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
    codec_id: bytes
    timings_ms: dict[str, float] = field(default_factory=dict)

    def code(self, quality: float, price: float = BIT_PRICE) -> Bitstream:
        """The stream at a quality of 0 (smallest) to 9 (best). Raises UsageError outside.

        price: squared quantiser steps of error for which a bit is saved; 0 rounds plainly.
        """
        code = quality_code(quality)
        with _timed(self.timings_ms, "coding"):
            return self._code(code, price)[0]

    def code_within(self, budget: int) -> Bitstream:
        """A stream of at most `budget` bytes that fills 95 % of it, in at most 6 coding passes.

        It is smaller where the best quality is, and for about one budget in a hundred where streams
        are as short as of faint noise. Raises UsageError, which names the smallest possible size,
        where the budget is below it.
        """
        return self.code_within_price(budget)[0]

    def code_within_price(self, budget: int) -> tuple[Bitstream, float]:
        """The same, and the price of a bit at which it was coded."""
        with _timed(self.timings_ms, "coding"):
            search = Search(budget, self._expected_sizes())
            best, most = None, 0
            while (wanted := search.next_pass()) is not None:
                stream, encoded = self._code(*wanted)
                size = len(stream.to_bytes())
                search.passes.append(Pass(*wanted, size, encoded))
                if most < size <= budget:
                    best, most = (stream, wanted[1]), size
        if best is None:
            raise UsageError(
                f"the picture does not fit into {budget} bytes: the smallest possible stream "
                f"has {min(each.size for each in search.passes)}",
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
        values = [self.model.significant(self.latent, self.codes(int(c))) for c in counted]
        positions = self.latent.shape[1] * self.latent.shape[2]
        # Learnt gains need not rise in every channel; what the search stands on has to.
        rising = np.maximum.accumulate(values)
        of_values: NDArray[np.float64] = BYTES_OF_VALUE * np.interp(every, counted, rising)
        return BYTES_OF_NONE + of_values + BYTES_OF_CODE * positions * every

    def codes(self, code: int) -> NDArray[np.int32]:
        """Quality codes i32 [h, w] of the latents at a base code."""
        if self.level_map is None:
            return flat_codes(code, self.width, self.height)
        return self.level_map.codes(code, self.width, self.height)

    def code_known(self, code: int) -> tuple[Bitstream, Before]:
        """The stream at a quality code, and what its reader has then."""
        stream, encoded = self._code(code, keep=True)
        assert encoded.symbols is not None
        return stream, self.model.before(encoded.symbols, self.codes(code))

    def _code(
        self, code: int, price: float = BIT_PRICE, keep: bool = False
    ) -> tuple[Bitstream, Encoded]:
        payload = b"" if self.level_map is None else self.level_map.encode()
        encoded = self.model.encode(self.latent, self.codes(code), code, price, keep=keep)
        stream = Bitstream(
            codec_id=self.codec_id,
            width=self.width,
            height=self.height,
            quality_code=code,
            check=encoded.check,
            level_map=payload,
            latents=encoded.payload,
        )
        return stream, encoded


class Encoder:
    """Codes pictures with the edge part of a bundle.

    `threads`: of onnxruntime; default: all cores that this process may use.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        self._threads = threads or _cores()
        self._session = self._open(ENCODER)
        self._guide = Guide(bundle, self._open(GUIDANCE), self._threads)
        self._print = PrintGuide(self._open(PRINT)) if bundle.has(PRINT) else None
        self.model = EntropyModel.load(bundle.path(ENTROPY))

    def analyse(self, picture: Picture, guidance: bool = True, question: str = "") -> Analysed:
        """Run guidance and transform on a picture u8 [H, W, 3].

        guidance: with a level map, where one is expected to pay. question: as of `level_map`.
        """
        height, width = picture.shape[:2]
        timings: dict[str, float] = {}
        with _timed(timings, "analysis"):
            latent = self._transform(picture)
        level_map = None
        if guidance:
            with _timed(timings, "guidance"):
                level_map = self._level_map(picture, question, latent)
        return Analysed(width, height, latent, level_map, self.model, self.bundle.codec_id, timings)

    def level_map(self, picture: Picture, question: str = "") -> LevelMap | None:
        """The level map with which a picture is sent; None where none is expected to pay.

        It is that of what the tower looks at, else that of print. question: what it names keeps its
        bits, all else gets fewer; "" for none.
        """
        return self._level_map(picture, question, None)

    def guide(self, picture: Picture, question: str = "") -> tuple[NDArray[np.float32], LevelMap]:
        """Importance f32 [rows, columns] of the cells of a picture u8 [H, W, 3], and the level map
        that it becomes: those of print where these are sent, else those of what the tower looks at,
        whether that map pays or not."""
        known = self._known(question)
        if self._print is not None and self._guide.paying(picture, known) is None:
            chances, level_map = self._print(self._transform(picture))
            if level_map is not None:
                return chances, level_map
        return self._guide(picture, known)

    def _level_map(
        self, picture: Picture, question: str, latent: NDArray[np.float32] | None
    ) -> LevelMap | None:
        """As `level_map`; the latent where it is there."""
        level_map = self._guide.paying(picture, self._known(question))
        if level_map is None and self._print is not None:
            level_map = self._print(self._transform(picture) if latent is None else latent)[1]
        return level_map

    def _known(self, question: str) -> str:
        """The question. Raises UsageError where the bundle cannot tell what one names."""
        if question and self._guide.focus is None:
            raise UsageError(
                f"the bundle {self.bundle.manifest.name} has learnt no words to focus by",
                hint="leave --focus out, or teach it: python -m training focus",
            )
        return question

    def _transform(self, picture: Picture) -> NDArray[np.float32]:
        """Latent f32 [C, h, w]. Tiles see as far as the transform does: they leave no seams."""
        height, width = picture.shape[:2]
        if max(height, width) <= WHOLE:
            return self._run(picture)
        rows, columns = latent_shape(width, height)
        # Channels last, as the entropy model takes it without a copy.
        latent = np.empty((rows, columns, self.bundle.manifest.codec.latent_channels), np.float32)
        for down in spans(rows * STRIDE, TILE, MARGIN):
            for across in spans(columns * STRIDE, TILE, MARGIN):
                tile = self._run(picture[down.low : down.high, across.low : across.high])
                top, left = (down.start - down.low) // STRIDE, (across.start - across.low) // STRIDE
                place = latent[
                    down.start // STRIDE : down.stop // STRIDE,
                    across.start // STRIDE : across.stop // STRIDE,
                ]
                high, wide = place.shape[:2]
                place[:] = np.moveaxis(tile[:, top : top + high, left : left + wide], 0, -1)
        return np.moveaxis(latent, -1, 0)

    def _run(self, picture: Picture) -> NDArray[np.float32]:
        latent: NDArray[np.float32] = self._session.run(None, {"picture": _planes(picture)})[0][0]
        return latent

    def _open(self, name: str) -> Any:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # Threads that wait by spinning take a core from what runs next, and a battery's charge.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            str(self.bundle.path(name)), options, providers=["CPUExecutionProvider"]
        )


def quality_code(quality: float) -> int:
    """Twentieths of a quality of 0 to 9. Raises UsageError outside."""
    if not 0.0 <= quality <= MAX_QUALITY:
        raise UsageError(f"the quality is {quality:g}", hint=f"0 to {MAX_QUALITY:g} can be coded")
    return round(quality * 20)


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
