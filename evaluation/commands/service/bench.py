"""Speed, in ratios: one run takes turns through all codecs, so that they share whatever else runs.

picture --guidance, analysis, coding--> stream --entropy, synthesis--> picture --adapter--> tokens
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from cloud_server.inference.adapter import Adapters
from cloud_server.inference.decoder import Decoded
from edge_client.pictures.images import Picture
from evaluation.codecs.compressai_zoo import compress, decompress, find_learned, untrained
from evaluation.codecs.cotam import CotamCodec, adapters_of
from evaluation.codecs.pictures import picture_set
from evaluation.codecs.pillow_formats import AVIF, JPEG, PillowFormat, decode, nearest_quality
from evaluation.machine import arithmetic, peak_memory
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Records
from shared.bitstream import Bitstream
from shared.bundle import Bundle, open_bundle
from shared.level_map import read_codes

TILE: Final = 256
REFERENCE: Final = PillowFormat("AVIF", AVIF.feature, {"speed": 6}, AVIF.ladder)
PEERS: Final = (JPEG, PillowFormat("WebP", "webp", {"method": 4}, ()), REFERENCE)
LEARNED: Final = "mbt2018-mean,cheng2020-anchor"
LEARNED_QUALITY: Final = 3
STAGES: Final = (
    *("guidance", "analysis", "coding", "container", "entropy", "synthesis", "adapter"),
)
Times = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--edge", action="store_true", help="measure the bare installation instead")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.25, 1.0, 4.0])
    parser.add_argument("--repeats", type=int, default=5, help="turns; the median counts")
    parser.add_argument("--threads", type=int, default=2, help="of each learned codec")
    parser.add_argument(
        "--compressai", default=LEARNED, metavar="NAMES", help="models of its zoo, commas between"
    )
    parser.add_argument(
        "--compressai-up-to", type=float, default=4.0, help="megapixels: some take minutes there"
    )


def main(arguments: argparse.Namespace) -> None:
    """Time everything at each size and write the section."""
    if arguments.edge:
        from evaluation.machine.bench_edge import main as edge

        edge(arguments)
        return
    models = find_learned(arguments.compressai)
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    cotam = CotamCodec(bundle, arguments.threads)
    adapters = adapters_of(bundle)
    records = Records(arguments.results / "bench.jsonl")
    speed = arithmetic.rate()
    parts = []
    for megapixels in arguments.megapixels:
        picture = mosaic(side_of(megapixels))
        runs: dict[str, Callable[[], Times]] = {
            "ours": partial(time_cotam, cotam, adapters, picture)
        }
        size = len(cotam.encode(cotam.analyse(picture, True), bundle.manifest.quality))
        for form in PEERS:
            quality = nearest_quality(partial(form.size, picture), size)
            runs[form.describe()] = partial(time_peer, form, picture, quality)
        turns = take_turns(runs, arguments.repeats)
        for model in models if megapixels <= arguments.compressai_up_to else ():
            turns[f"CompressAI {model.name}"] = time_learned(
                untrained(model.name, LEARNED_QUALITY), picture
            )
        for name, times in turns.items():
            key = {"bundle": bundle.hex_id, "megapixels": megapixels, "codec": name}
            records.add({**key, "threads": arguments.threads, "at": time.time()}, dict(times))
        work = arithmetic.multiply_adds(bundle, picture.shape[1], picture.shape[0])
        limits = {stage: 1000 * count / speed for stage, count in work.items()}
        parts += [*_tables(megapixels, picture, size, turns, limits), _memory(bundle, picture)]
    write_section(arguments.report, "bench", "\n\n".join([_lead(arguments, bundle, speed), *parts]))


def side_of(megapixels: float) -> int:
    """Side of a square of that many times 2^20 pixels, a multiple of 16."""
    return max(16, round(1024 * math.sqrt(megapixels) / 16) * 16)


def mosaic(side: int) -> Picture:
    """A square u8 [side, side, 3] of photographs at their own scale, no tile of which repeats one.

    A photograph scaled up would be smoother than what a camera gives.
    """
    pictures = picture_set(None)
    canvas = np.empty((side, side, 3), np.uint8)
    for number, (top, left) in enumerate(
        (y, x) for y in range(0, side, TILE) for x in range(0, side, TILE)
    ):
        photo = pictures.load(number % len(pictures.files))
        height, width = min(TILE, side - top), min(TILE, side - left)
        chance = np.random.default_rng(number)
        y = int(chance.integers(photo.shape[0] - height + 1))
        x = int(chance.integers(photo.shape[1] - width + 1))
        canvas[top : top + height, left : left + width] = photo[y : y + height, x : x + width]
    return canvas


def take_turns(runs: dict[str, Callable[[], Times]], repeats: int) -> dict[str, Times]:
    """Median milliseconds by run and stage; one turn warms up and is not counted."""
    turns_by_run: dict[str, list[Times]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            times = run()
            if turn:
                turns_by_run[name].append(times)
    return {
        name: {stage: statistics.median(t[stage] for t in turns) for stage in turns[0]}
        for name, turns in turns_by_run.items()
    }


def time_cotam(cotam: CotamCodec, adapters: Adapters | None, picture: Picture) -> Times:
    """Milliseconds of each stage, and of encode and decode as wholes."""
    start = time.perf_counter()
    analysed = cotam.analyse(picture, True)
    data = cotam.encode(analysed, cotam.bundle.manifest.quality)
    encode = _since(start)
    start = time.perf_counter()
    stream = Bitstream.from_bytes(data)
    stream.to_bytes()
    container = _since(start)
    start = time.perf_counter()
    _entropy(cotam, stream)
    entropy = _since(start)
    start = time.perf_counter()
    decoded = cotam.decode(data)
    decoding = _since(start)
    return {
        "encode": encode,
        "decode": decoding,
        **analysed.timings_ms,
        "container": container,
        "entropy": entropy,
        "synthesis": decoding - entropy,
        "adapter": _adapt(adapters, decoded),
    }


def _entropy(cotam: CotamCodec, stream: Bitstream) -> None:
    codes, _ = read_codes(stream)
    cotam.decoder.entropy.decode(stream.latents, stream.check, codes, stream.quality_code)


@torch.inference_mode()
def _adapt(adapters: Adapters | None, decoded: Decoded) -> float:
    if adapters is None:
        return 0.0
    start = time.perf_counter()
    adapters.tokens([decoded])
    return _since(start)


def time_peer(form: PillowFormat, picture: Picture, quality: int) -> Times:
    """Milliseconds of encode and decode of a Pillow format."""
    start = time.perf_counter()
    file = form.encode(picture, quality)
    encode = _since(start)
    start = time.perf_counter()
    decode(file)
    return {"encode": encode, "decode": _since(start)}


def time_learned(model: Any, picture: Picture) -> Times:
    """Milliseconds of encode and decode, once: these models take seconds."""
    start = time.perf_counter()
    file = compress(model, picture, LEARNED_QUALITY)
    encode = _since(start)
    start = time.perf_counter()
    decompress(model, file)
    return {"encode": encode, "decode": _since(start)}


def _tables(
    megapixels: float, picture: Picture, size: int, times_of: dict[str, Times], limits: Times
) -> list[str]:
    reference = times_of[REFERENCE.describe()]
    rows = [
        [
            "**ours**" if name == "ours" else name,
            *(f"{times[way]:.1f}" for way in ("encode", "decode")),
            *(f"{times[way] / reference[way]:.2f}" for way in ("encode", "decode")),
        ]
        for name, times in times_of.items()
    ]
    cotam_times = times_of["ours"]
    whole = cotam_times["encode"] + cotam_times["decode"]
    stages = [
        [
            stage,
            f"{cotam_times[stage]:.1f}",
            f"{100 * cotam_times[stage] / whole:.1f} %",
            f"{limits[stage]:.1f}" if stage in limits else "",
        ]
        for stage in STAGES
        if stage in cotam_times
    ]
    without = whole - cotam_times.get("guidance", 0.0)
    extra = (cotam_times.get("guidance", 0.0) + cotam_times["adapter"]) / without
    avif = f"{REFERENCE.name} speed {REFERENCE.settings['speed']}"
    side = picture.shape[0]
    return [
        f"**{megapixels:g} megapixels** ({side}x{side}, photographs at their own scale, "
        f"{size} bytes of ours, Pillow's formats at the quality nearest to that size):",
        table(["codec", "encode, ms", "decode, ms", f"encode / {avif}", f"decode / {avif}"], rows),
        f"Ours by stage; guidance and adapter add {100 * extra:.1f} % to encode and decode without "
        "them:",
        table(["stage", "ms", "of encode + decode", "limit, ms"], stages),
    ]


def _memory(bundle: Bundle, picture: Picture) -> str:
    with tempfile.TemporaryDirectory(prefix="cotam-bench-") as folder:
        photo, stream = Path(folder) / "picture.png", Path(folder) / "picture.cotam"
        Image.fromarray(picture).save(photo)
        encoding, decoding = peak_memory.measure(bundle, photo, stream)
    return (
        f"Peak memory of a process that does nothing else: encode {encoding:.0f} MB, decode "
        f"{decoding:.0f} MB with torch."
    )


def _lead(arguments: argparse.Namespace, bundle: Bundle, speed: float) -> str:
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Bundle {bundle.hex_id} at quality {bundle.manifest.quality:g}, {arguments.threads} "
            f"threads. Median of {arguments.repeats} turns through all codecs after one to warm "
            "up; CompressAI's models once, with random weights. Read the ratios: milliseconds "
            "depend on the machine and on what else it does. *Limit* is the time of a stage's "
            f"multiply-adds at the {speed / 1e9:.0f} billion a second of this run's float32 matrix "
            "products; coding is the entropy network, the hyper analysis and the coder.",
        ]
    )


def _since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)
