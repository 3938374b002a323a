"""Damaged bytes by the thousand: each case has to end in its documented error or decode.

good streams --damage--> bytes --container, level map, entropy model--> symbols | StreamError
enhancements --damage--> bytes --container, cells, entropy model, onto a base --> the same
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import functools
import resource
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import shared
from evaluation.codecs.clip_damage import good_clips
from evaluation.codecs.damage import CRC_BYTES, Case, Chance, damaged, damaged_enhancement, sealed
from evaluation.commands.service.clip_cases import Clips
from evaluation.machine.peak_memory import STATUS, peak
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from shared.bitstream import Bitstream, Limits
from shared.bundle import ENTROPY, open_bundle
from shared.coding.intervals import USUAL
from shared.entropy_model import EntropyModel
from shared.errors import CotamError, StreamError
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.layers.known import Known
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
    *("bitstream.py", "entropy_model.py", "frames.py", "level_map.py"),
    *("clips/*.py", "coding/*.py", "layers/*.py"),
)
BASE: Final = slice(3, 5)
"""Where an enhancement names what it continues."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=int, default=100_000, help=f"in batches of {BATCH}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--clips", action="store_true", help="clips, up to each frame's latents")
    parser.add_argument(
        "--enhancements", action="store_true", help="of streams, onto right and wrong ones"
    )


def main(arguments: argparse.Namespace) -> None:
    """Try what is not yet tried of the seed, then write the section. Raises where a case failed."""
    bundle = open_bundle(arguments.bundle)
    model = EntropyModel.load(bundle.path(ENTROPY))
    target: Target = Streams(model, good_streams(model, bundle.codec_id))
    if arguments.clips:
        target = Clips(model, *good_clips(model, bundle.codec_id), LIMITS)
    elif arguments.enhancements:
        target = Enhancements(model, bundle.codec_id)
    records = Records(arguments.results / f"{target.section}.jsonl")
    key = {"bundle": bundle.hex_id, "reader": _reader(), "seed": arguments.seed}
    bound_memory()
    batches = -(-arguments.cases // BATCH)
    batches_tried = [
        records.measure({**key, "batch": n}, batch, target, arguments.seed, n)
        for n in tqdm(range(batches), desc="fuzz", unit="batch")
    ]
    written = text(arguments, bundle.hex_id, target, batches_tried)
    write_section(arguments.report, target.section, written)
    failures = [failure for tried in batches_tried for failure in tried["failures"]]
    if failures:
        raise CotamError(f"{len(failures)} cases failed, the first: {failures[0]}")


@dataclass(frozen=True)
class Streams:
    """Damaged streams, read up to their latents."""

    model: EntropyModel
    good: list[bytes]
    section: ClassVar[str] = "fuzz"
    names: ClassVar[str] = "streams"
    wrong: ClassVar[str] = "a second form of the same"

    def draw(self, chance: Chance) -> Case:
        """Another case."""
        return Case(damaged(self.good, chance))

    def read(self, case: Case) -> str:
        """As `read`."""
        return read(self.model, case.data)


class Enhancements:
    """Damaged enhancements, read onto the picture that they continue and onto others.

    Onto another they come as they are or, more often, with its check, so that more is read than
    that.
    """

    section: ClassVar[str] = "fuzz_enhancements"
    names: ClassVar[str] = "enhancements"
    wrong: ClassVar[str] = "a second form of the same"

    def __init__(self, model: EntropyModel, codec_id: bytes) -> None:
        self.model = model
        self.known, self.good = good_enhancements(model, codec_id)

    def draw(self, chance: Chance) -> Case:
        """Another case."""
        data, base = damaged_enhancement(self.good, chance)
        if chance.random() < 0.3:
            base = int(chance.integers(len(self.known)))
            if chance.random() < 0.7:
                check = self.known[base].check.to_bytes(2, "little")
                data = sealed(data[: BASE.start] + check + data[BASE.stop : -CRC_BYTES])
        return Case(data, base)

    def read(self, case: Case) -> str:
        """As `read`."""
        known = self.known[case.base]
        try:
            enhancement = Enhancement.from_bytes(case.data, LIMITS)
            assert enhancement.to_bytes() == case.data, "an enhancement has one form"
            after = known.continued(enhancement, self.model)
        except StreamError as error:
            return error.code
        assert (after.latents.codes >= known.latents.codes).all(), "coarser than before"
        assert np.isfinite(after.latent(self.model)).all(), "a latent that is no number"
        return "decoded"


Target = Streams | Enhancements | Clips


def good_enhancements(model: EntropyModel, codec_id: bytes) -> tuple[list[Known], list[bytes]]:
    """Twenty-four pictures up to 95x65 pixels, and an enhancement of each: cells of all sizes or
    the whole picture, of streams and of what continues one already."""
    chance = np.random.default_rng(1)
    pictures, made = [], []
    for n in range(24):
        width, height = (1, 1) if n == 0 else (int(s) for s in chance.integers(1, (96, 66)))
        code = 3 * n
        codes, level_map = flat_codes(code, width, height), b""
        if n % 3:
            values = chance.integers(0, 2, cell_shape(width, height, 16)).astype(np.uint8)
            of_cells = LevelMap(values, 16, 2, 30)
            codes, level_map = of_cells.codes(code, width, height), of_cells.encode()
        latent = _latent(model, width, height, chance)
        coded = model.encode(latent, codes, code)
        stream = Bitstream(codec_id, width, height, code, coded.check, level_map, coded.payload)
        known = Known.read(stream, model)
        if n % 2:
            first = _enhance(model, latent, known, code + 45, n, chance)
            known = known.continued(first, model)
        pictures.append(known)
        made.append(_enhance(model, latent, known, code + 90, n + 1, chance).to_bytes())
    return pictures, made


def _enhance(
    model: EntropyModel, latent: NDArray[Any], known: Known, code: int, form: int, chance: Chance
) -> Enhancement:
    """Cells by chance, of the size that the form says; the whole picture for one form in four."""
    cells = None
    if form % 4:
        cell = CELLS[form % 4 - 1]
        chosen = chance.random(cell_shape(known.stream.width, known.stream.height, cell)) < 0.5
        chosen.flat[0] = True
        cells = Cells(chosen, cell)
    codes, mask = known.plan(cells, code, model)
    price = USUAL * (form % 3 > 0)
    coded = model.encode(latent, codes, code, before=known.latents, mask=mask, price_before=price)
    named = b"" if cells is None else cells.encode()
    return Enhancement(known.check, code, price, coded.check, named, coded.payload)


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
        latent = _latent(model, width, height, chance)
        coded = model.encode(latent, codes, code)
        extras = ((200, b"more"),) if n % 5 == 0 else ()
        stream = Bitstream(
            codec_id, width, height, code, coded.check, level_map, coded.payload, extras
        )
        streams.append(stream.to_bytes())
    return streams


def _latent(model: EntropyModel, width: int, height: int, chance: Chance) -> NDArray[Any]:
    """A latent f32 [C, h, w] with heavy tails."""
    spread = np.exp(chance.normal(2, 2, (model.latent_channels, 1, 1)))
    shape = (model.latent_channels, *latent_shape(width, height))
    latent: NDArray[Any] = (chance.laplace(0, 1, shape) * spread).astype(np.float32)
    return latent


def batch(target: Target, seed: int, number: int) -> Fields:
    """Counts by how the cases of one batch ended; failures with their bytes."""
    chance = np.random.default_rng((seed, number))
    ends: collections.Counter[str] = collections.Counter()
    failures, slowest = [], 0.0
    for _ in range(BATCH):
        case = target.draw(chance)
        # A hang inside of compiled code cannot be raised out of: this ends the process.
        faulthandler.dump_traceback_later(HUNG, exit=True)
        start = time.process_time()
        try:
            ends[target.read(case)] += 1
        except Exception as error:  # anything else than the documented is what is looked for
            failures.append(f"{type(error).__name__}: {error}: {case}")
        finally:
            faulthandler.cancel_dump_traceback_later()
        seconds = time.process_time() - start
        slowest = max(slowest, seconds)
        if seconds > SLOW:
            failures.append(f"took {seconds:.1f} s: {case}")
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


def text(
    arguments: argparse.Namespace,
    bundle: str,
    target: Target,
    batches: list[Fields],
) -> str:
    """How many cases ended how."""
    ends: collections.Counter[str] = collections.Counter()
    for batch in batches:
        ends.update(batch["ends"])
    failures = sum(len(batch["failures"]) for batch in batches)
    rows = [[f"`{end}`" if "_" in end else end, f"{n:,}"] for end, n in ends.most_common()]
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{len(batches) * BATCH:,} damaged {target.names} of bundle {bundle} (seed "
            f"{arguments.seed}): {_DAMAGE[target.names]} under the service's limit of "
            f"{LIMITS.pixels:,} pixels. A failure is any exception but a documented StreamError, "
            f"{target.wrong}, over "
            f"{SLOW:g} s of processor time, or over {MEMORY >> 20} MiB more memory than before: "
            f"**{failures} failures**. The slowest took "
            f"{max(batch['slowest'] for batch in batches):.2f} s; the process peaked at "
            f"{max(batch['peak_mb'] for batch in batches):.0f} MB.",
            table(["ended in", "cases"], rows),
        ]
    )


_DAMAGE: Final = {
    "streams": "flipped bits, noise, cuts, splices, repeats, hostile headers and chunk sizes, "
    "noise for payloads; seven in ten under a right CRC. Each is read up to its latents",
    "clips": "four in ten flipped bits, noise, cuts, splices and repeats anywhere; others under "
    "right CRCs: frames left out, repeated, of other clips, with other payloads, planes and "
    "qualities; bases that are not theirs. Each is read up to the latents of its frames",
    "enhancements": "flipped bits, noise, cuts, splices, repeats, payloads and cells of others, "
    "any quality; most under a right CRC. Seven in ten are read onto the picture they continue, "
    "the others onto any, mostly with its check named. Each is read up to its latents",
}


def _reader() -> int:
    """Names the code that was tried: records of other code do not count."""
    folder = Path(shared.__file__).parent
    files = (path for pattern in READERS for path in sorted(folder.glob(pattern)))
    return functools.reduce(lambda crc, path: zlib.crc32(path.read_bytes(), crc), files, 0)
