"""Damaged streams by the thousand: each has to end in its documented error or decode.

good streams --damage--> bytes --container, level map, entropy model--> symbols | StreamError
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import resource
import time
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

import shared
from evaluation.codecs.damage import damaged
from evaluation.machine.peak_memory import STATUS, peak
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from shared.bitstream import Bitstream, Limits
from shared.bundle import ENTROPY, open_bundle
from shared.entropy_model import EntropyModel
from shared.errors import CotamError, StreamError
from shared.level_map import (
    CELLS,
    LEVELS,
    STEP_UNIT,
    LevelMap,
    cell_shape,
    flat_codes,
    latent_shape,
    read_codes,
)

BATCH: Final = 500
SLOW: Final = 2.0  # seconds of processor time
HUNG: Final = 120  # seconds by the clock, in which even a busy machine ends a case
MEMORY: Final = 512 << 20  # bytes over what the process held before the first case
LIMITS: Final = Limits(pixels=4_200_000)  # the service's default
READERS: Final = (
    *("ans", "bitstream", "byte_ans", "entropy_model", "integer_network"),
    *("level_map", "level_tables", "symbol_coder"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=int, default=100_000, help=f"in batches of {BATCH}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")


def main(arguments: argparse.Namespace) -> None:
    """Try what is not yet tried of the seed, then write the section. Raises where a case failed."""
    bundle = open_bundle(arguments.bundle)
    model = EntropyModel.load(bundle.path(ENTROPY))
    streams = good_streams(model, bundle.codec_id)
    records = Records(arguments.results / "fuzz.jsonl")
    key = {"bundle": bundle.hex_id, "reader": _reader(), "seed": arguments.seed}
    bound_memory()
    batches = -(-arguments.cases // BATCH)
    batches_tried = [
        records.measure({**key, "batch": n}, batch, model, streams, arguments.seed, n)
        for n in tqdm(range(batches), desc="fuzz", unit="batch")
    ]
    write_section(arguments.report, "fuzz", text(arguments, bundle.hex_id, batches_tried))
    failures = [failure for tried in batches_tried for failure in tried["failures"]]
    if failures:
        raise CotamError(f"{len(failures)} cases failed, the first: {failures[0]}")


def good_streams(model: EntropyModel, codec_id: bytes) -> list[bytes]:
    """Twenty-four streams: sizes 1x1 to 190x130, qualities 0 to 9, all kinds of level maps."""
    chance = np.random.default_rng(0)
    streams = []
    for n in range(24):
        width, height = (int(side) for side in chance.integers(1, (191, 131)))
        if n == 0:
            width = height = 1
        code = int(n * 180 / 23)
        codes, level_map = flat_codes(code, width, height), b""
        if n % 3:
            cell, levels = CELLS[n % len(CELLS)], LEVELS[n % len(LEVELS)]
            values = chance.integers(0, levels, cell_shape(width, height, cell)).astype(np.uint8)
            made = LevelMap(values, cell, levels, step=STEP_UNIT * int(chance.integers(16)))
            codes, level_map = made.codes(code, width, height), made.encode()
        spread = np.exp(chance.normal(2, 2, (model.latent_channels, 1, 1)))
        shape = (model.latent_channels, *latent_shape(width, height))
        latent = (chance.laplace(0, 1, shape) * spread).astype(np.float32)
        coded = model.encode(latent, codes, code)
        extras = ((200, b"more"),) if n % 5 == 0 else ()
        stream = Bitstream(
            codec_id, width, height, code, coded.check, level_map, coded.payload, extras
        )
        streams.append(stream.to_bytes())
    return streams


def batch(model: EntropyModel, streams: list[bytes], seed: int, number: int) -> Fields:
    """Counts by how the cases of one batch ended; failures with their bytes."""
    chance = np.random.default_rng((seed, number))
    ends: collections.Counter[str] = collections.Counter()
    failures, slowest = [], 0.0
    for _ in range(BATCH):
        data = damaged(streams, chance)
        # A hang inside of compiled code cannot be raised out of: this ends the process.
        faulthandler.dump_traceback_later(HUNG, exit=True)
        start = time.process_time()
        try:
            ends[read(model, data)] += 1
        except Exception as error:  # anything else than the documented is what is looked for
            failures.append(f"{type(error).__name__}: {error}: {data.hex()}")
        finally:
            faulthandler.cancel_dump_traceback_later()
        seconds = time.process_time() - start
        slowest = max(slowest, seconds)
        if seconds > SLOW:
            failures.append(f"took {seconds:.1f} s: {data.hex()}")
    return {"ends": dict(ends), "slowest": slowest, "failures": failures, "peak_mb": peak()}


def read(model: EntropyModel, data: bytes) -> str:
    """How reading a stream ended: the code of its StreamError, or "decoded".

    Raises what a reader must not raise, and AssertionError where it accepts a second form.
    """
    try:
        stream = Bitstream.from_bytes(data, LIMITS)
        assert stream.to_bytes() == data, "a stream has one form"
        codes, _ = read_codes(stream)
        latent = model.decode(stream.latents, stream.check, codes, stream.quality_code)
    except StreamError as error:
        return error.code
    assert latent.shape == (model.latent_channels, *codes.shape), "another size"
    assert np.isfinite(latent).all(), "a latent that is no number"
    return "decoded"


def bound_memory() -> None:
    """More than `MEMORY` over what is held now becomes a MemoryError, which fails the case."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        held = int(lines["VmSize"].split()[0]) * 1024
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))


def text(arguments: argparse.Namespace, bundle: str, found: list[Fields]) -> str:
    """How many cases ended how."""
    ends: collections.Counter[str] = collections.Counter()
    for one in found:
        ends.update(one["ends"])
    failures = sum(len(one["failures"]) for one in found)
    rows = [[f"`{end}`" if "_" in end else end, f"{n:,}"] for end, n in ends.most_common()]
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{len(found) * BATCH:,} damaged streams of bundle {bundle} (seed {arguments.seed}): "
            "flipped bits, noise, cuts, splices, repeats, hostile headers and chunk sizes, noise "
            "for payloads; seven in ten under a right CRC. Each is read up to its latents under "
            f"the service's limit of {LIMITS.pixels:,} pixels. A failure is any exception but a "
            "documented StreamError, a second form of one stream, over "
            f"{SLOW:g} s of processor time, or over {MEMORY >> 20} MiB more memory than before: "
            f"**{failures} failures**. The slowest took "
            f"{max(one['slowest'] for one in found):.2f} s; the process peaked at "
            f"{max(one['peak_mb'] for one in found):.0f} MB.",
            table(["ended in", "cases"], rows),
        ]
    )


def _reader() -> int:
    """Names the code that was tried: records of other code do not count."""
    folder = Path(shared.__file__).parent
    crc = 0
    for name in READERS:
        crc = zlib.crc32((folder / f"{name}.py").read_bytes(), crc)
    return crc
