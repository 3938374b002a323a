"""The edge in a browser beside the edge in Python: symbols that differ, answers, bytes, time.

picture --edge in Chromium--> stream --+--> symbols that differ from Python's, answers of the server
   `-----edge in Python-------> stream -'
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from PIL import Image

from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import Picture
from evaluation.machine.bench_edge import tiled
from evaluation.machine.chromium import BrowserEdge, Loaded, browser_edge, chromium_version
from evaluation.machine.server_process import ROOT, ServerProcess
from evaluation.report.document import command_line, table, write_section
from shared.bitstream import Bitstream
from shared.bundle import ENTROPY, open_bundle
from shared.entropy_model import EntropyModel
from shared.errors import UsageError
from shared.level_map import read_codes
from shared.libraries import PICTURE_FORMATS

PICTURES: Final = ROOT / "cloud_server" / "playground" / "static"
QUALITIES: Final = (1.0, 3.0, 6.0)
ANSWERED: Final = 3.0
"""The quality at which questions are asked, and encodes timed."""
LEAST_SHOWN: Final = 10_000  # bytes of a file
QUESTIONS: Final = 2  # of each picture
SIZES: Final = ((256, 256), (1024, 1024))
OTHER: Final = """if True:
    import sys
    from pathlib import Path
    import numpy as np, onnxruntime
    from PIL import Image
    from edge_client.coding.encoder import Encoder
    from shared.bundle import open_bundle
    from shared.libraries import PICTURE_FORMATS
    bundle, out, qualities, *pictures = sys.argv[1:]
    encoder = Encoder(open_bundle(bundle), threads=1)
    for picture in pictures:
        with Image.open(picture, formats=PICTURE_FORMATS) as image:
            analysed = encoder.analyse(np.asarray(image.convert("RGB")))
        for quality in qualities.split(","):
            stream = analysed.code(float(quality)).to_bytes()
            (Path(out) / f"{Path(picture).stem}-{quality}.cotam").write_bytes(stream)
    print(onnxruntime.__version__)
"""
"""What another environment runs: bundle, folder for streams, qualities, pictures."""

Streams = dict[tuple[str, float], bytes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument(
        "--python",
        type=Path,
        metavar="FILE",
        help="interpreter of an environment with another onnxruntime, to compare with",
    )
    parser.add_argument("--repeats", type=int, default=5, help="encodes of each size")


def main(arguments: argparse.Namespace) -> None:
    """Measure and write the section `web`. Raises UsageError."""
    bundle = open_bundle(arguments.bundle)
    encoder = Encoder(bundle, threads=1)
    model = EntropyModel.load(bundle.path(ENTROPY))
    pictures = sorted(PICTURES.glob("*.png"))
    questions = json.loads((PICTURES / "examples.json").read_text(encoding="utf-8"))
    python = {
        (path.stem, quality): analysed.code(quality).to_bytes()
        for path in pictures
        for analysed in [encoder.analyse(_pixels(path))]
        for quality in QUALITIES
    }
    with ServerProcess(["--bundle", arguments.bundle]) as server:
        with browser_edge(server.url) as edge:
            browser = {
                (path.stem, quality): edge.encode(path.read_bytes(), quality=quality)[0]
                for path in pictures
                for quality in QUALITIES
            }
            loaded = edge.loaded()
            same, asked = _answers(edge, browser, python, questions)
            times = [_times(encoder, edge, *size, arguments.repeats) for size in SIZES]
        with browser_edge(server.url, threads=2) as edge:
            for row, size in zip(times, SIZES, strict=True):
                taken = _browser_times(edge, tiled(*size), arguments.repeats)
                row.append(f"{statistics.median(taken):,.0f}")
    body = "\n\n".join(
        (
            f"{command_line(arguments.words)}",
            _versions(),
            f"Bundle {bundle.hex_id}. The {len(pictures)} pictures of the playground at qualities "
            f"{', '.join(f'{q:g}' for q in QUALITIES)}, each stream beside that of Python's edge; "
            f"what differs, of {_places(python) * model.latent_channels:,} latents:",
            table(*_differences(model, python, browser, arguments)),
            f"The server answers {same} of {asked} questions about the pictures at quality 3 as it "
            "does with Python's streams.",
            "What a page loads, once (a browser keeps it); files of "
            f"{LEAST_SHOWN // 1000} kB or more:",
            table(["file", "kB on the wire", "kB unpacked"], _sizes(loaded)),
            f"Milliseconds of an encode at quality 3, medians of {arguments.repeats}:",
            table(
                [
                    "picture",
                    "Python, 1 thread",
                    "Chromium, 1 thread",
                    "ratio",
                    "Chromium, 2 threads",
                ],
                times,
            ),
        )
    )
    write_section(arguments.report, "web", body)
    print(body)


def _places(streams: Streams) -> int:
    """How many places of latents the streams hold together."""
    shapes = [read_codes(Bitstream.from_bytes(stream))[0].shape for stream in streams.values()]
    return sum(rows * columns for rows, columns in shapes)


def differing(model: EntropyModel, stream: bytes, other: bytes) -> tuple[int, int, int]:
    """Cells of the level map, hyper latents and latents that differ in two streams of a picture."""
    first, second = Bitstream.from_bytes(stream), Bitstream.from_bytes(other)
    (codes, levels), (other_codes, other_levels) = read_codes(first), read_codes(second)
    if levels is not None and other_levels is not None:
        cells = int(np.count_nonzero(levels.values != other_levels.values))
    else:
        cells = int(np.count_nonzero(codes != other_codes))
    a = model.read(first.latents, first.check, codes, first.quality_code)
    b = model.read(second.latents, second.check, other_codes, second.quality_code)
    return (
        cells,
        int(np.count_nonzero(a.hyper != b.hyper)),
        int(np.count_nonzero(a.values != b.values)),
    )


def _differences(
    model: EntropyModel, python: Streams, browser: Streams, arguments: argparse.Namespace
) -> tuple[list[str], list[list[str]]]:
    """How far from Python's are the browser's streams, and those of another onnxruntime."""
    head = ["edge", "streams equal to Python's", "cells", "hyper latents", "latents", "bytes"]
    sides = {"Chromium, onnxruntime-web": browser}
    if arguments.python is not None:
        release, streams = _other_onnxruntime(arguments.python, arguments.bundle, list(python))
        sides[f"Python, onnxruntime {release}"] = streams
    total = sum(map(len, python.values()))
    rows = []
    for name, streams in sides.items():
        each = [differing(model, python[key], streams[key]) for key in python]
        equal = sum(python[key] == streams[key] for key in python)
        changed = sum(map(len, streams.values())) / total - 1
        counts = [f"{sum(count):,}" for count in zip(*each, strict=True)]
        rows.append([name, f"{equal} of {len(python)}", *counts, f"{100 * changed:+.2f} %"])
    return head, rows


def _other_onnxruntime(
    python: Path, bundle: str, keys: Sequence[tuple[str, float]]
) -> tuple[str, Streams]:
    """The version of another environment's onnxruntime, and the streams that it makes."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = [str(PICTURES / f"{name}.png") for name in sorted({name for name, _ in keys})]
        qualities = ",".join(f"{quality:g}" for quality in QUALITIES)
        command = [str(python), "-c", OTHER, bundle, folder, qualities, *pictures]
        completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if completed.returncode:
            last = (completed.stderr.strip().splitlines() or [""])[-1]
            raise UsageError(f"{python} did not code: {last}", hint="it needs the edge's packages")
        streams = {
            (name, quality): (Path(folder) / f"{name}-{quality:g}.cotam").read_bytes()
            for name, quality in keys
        }
        return completed.stdout.strip(), streams


def _answers(
    edge: BrowserEdge, browser: Streams, python: Streams, questions: dict[str, list[dict[str, str]]]
) -> tuple[int, int]:
    """How many answers are the same of both streams of a picture, and how many there are."""
    pairs = [
        (
            edge.ask(browser[name, ANSWERED], question["prompt"]),
            edge.ask(python[name, ANSWERED], question["prompt"]),
        )
        for name, asked in questions.items()
        for question in asked[:QUESTIONS]
    ]
    return sum(a == b for a, b in pairs), len(pairs)


def _times(encoder: Encoder, edge: BrowserEdge, width: int, height: int, repeats: int) -> list[str]:
    picture = tiled(width, height)
    own = statistics.median(_python_times(encoder, picture, repeats))
    there = statistics.median(_browser_times(edge, picture, repeats))
    return [f"{width}x{height}", f"{own:,.0f}", f"{there:,.0f}", f"{there / own:.1f}"]


def _python_times(encoder: Encoder, picture: Picture, repeats: int) -> Iterator[float]:
    encoder.analyse(picture).code(ANSWERED)  # warms up
    for _ in range(repeats):
        start = time.perf_counter()
        encoder.analyse(picture).code(ANSWERED).to_bytes()
        yield 1000 * (time.perf_counter() - start)


def _browser_times(edge: BrowserEdge, picture: Picture, repeats: int) -> list[float]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    _, taken = edge.encode(file.getvalue(), repeats + 1, quality=ANSWERED, resolution="native")
    return taken[1:]


def _sizes(loaded: Sequence[Loaded]) -> list[list[str]]:
    rows = [
        [
            f"`{PurePosixPath(file.path).name}`",
            f"{file.wire / 1000:,.0f}",
            f"{file.bytes / 1000:,.0f}",
        ]
        for file in loaded
        if file.bytes >= LEAST_SHOWN
    ]
    wire, unpacked = (sum(getattr(file, kind) for file in loaded) for kind in ("wire", "bytes"))
    return [*rows, ["all", f"{wire / 1000:,.0f}", f"{unpacked / 1000:,.0f}"]]


def _versions() -> str:
    packages = json.loads((ROOT / "edge_client" / "web" / "package.json").read_text())
    web = packages["dependencies"]["onnxruntime-web"]
    return (
        f"onnxruntime-web {web} in Chromium {chromium_version()}, onnxruntime "
        f"{version('onnxruntime')} in Python."
    )


def _pixels(path: Path) -> Picture:
    with Image.open(path, formats=PICTURE_FORMATS) as image:
        return np.asarray(image.convert("RGB"))
