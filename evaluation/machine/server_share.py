"""What CoTAM's own part costs of an answer: parsing, decoding and the adapter, by itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from cloud_server.inference.engine import Engine
from cloud_server.inference.work import Work
from evaluation.codecs.cotam import CotamCodec, adapters_of
from shared.bitstream import Bitstream
from shared.bundle import Bundle

BATCH: Final = 16
PROMPT: Final = "how many cars?"
NEW_TOKENS: Final = 8


@dataclass(frozen=True)
class Share:
    """Milliseconds a picture, alone and in a batch of 16: our steps, and the whole answer."""

    parse: float
    decode: float
    adapter: float
    whole: float

    @property
    def overhead(self) -> float:
        """Milliseconds that a server without CoTAM would not need."""
        return self.parse + self.decode + self.adapter


def measure_share(
    bundle: Bundle, streams: Sequence[bytes], count: int, threads: int, repeats: int
) -> Share:
    """A batch of `count` pictures, in this process; medians of `repeats`, each by picture."""
    engine = Engine([bundle], "", "cpu", threads)
    decoder, adapters = CotamCodec(bundle, threads).decoder, adapters_of(bundle)
    batch = [streams[number % len(streams)] for number in range(count)]
    parsed = [Bitstream.from_bytes(stream) for stream in batch]
    decoded = [decoder.decode(stream) for stream in parsed]

    @torch.inference_mode()
    def adapt() -> None:
        if adapters is not None:
            adapters.tokens(decoded)

    def answer() -> None:
        works = [Work(Bitstream.from_bytes(stream), PROMPT, NEW_TOKENS) for stream in batch]
        engine.run(works)
        for work in works:
            if work.error is not None:
                raise work.error

    steps: dict[str, Callable[[], Any]] = {
        "parse": lambda: [Bitstream.from_bytes(stream) for stream in batch],
        "decode": lambda: [decoder.decode(stream) for stream in parsed],
        "adapter": adapt,
        "whole": answer,
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:  # the first only warms up
                times[name].append(1000 * (time.perf_counter() - start) / count)
    return Share(**{name: statistics.median(milliseconds) for name, milliseconds in times.items()})
