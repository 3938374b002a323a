"""What the base install weighs, and what it takes to start, to code and to keep in memory.

A fresh environment, the real installer, processes that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from edge_client.coding.benchmark import drawn
from edge_client.pictures.images import Picture
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Records
from shared.errors import UsageError

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ("edge_client", "cloud_server", "shared", "scenes", "training", "evaluation")
FILES: Final = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt")
FORBIDDEN: Final = ("torch", "torchvision", "transformers", "open_clip_torch", "compressai")
INSTALLER: Final = ("pip", "setuptools")
STARTS: Final = 7
NATIVE: Final = {"1 megapixel": (1024, 1024), "12": (4000, 3000), "50": (8160, 6144)}

PURPOSE: Final = {
    "onnxruntime": "guidance and transform; a third of torch's time on this network",
    "numpy": "the integer entropy network; half of it is OpenBLAS, which does its products",
    "pillow": "reads and scales pictures: JPEG, PNG, WebP, AVIF, TIFF, colour profiles",
    "cotam": "this package; its two bundles are nearly all of it",
    "pygments": "rich needs it",
    "pydantic_core": "pydantic needs it",
    "pydantic": "manifests and answers come from outside: checked, with the field named",
    "rich": "typer needs it for help; the progress bar",
    "protobuf": "onnxruntime needs it",
    "anyio": "httpx needs it",
    "constriction": "the entropy coder, twenty times as quick as ours in Python",
    "packaging": "onnxruntime needs it",
    "typer": "the command line, its help and completion",
    "httpx": "HTTP: one code for sync and async, four time-outs, streams",
    "httpcore": "httpx needs it",
}
"""What each distribution is for; the small ones, which others need, are not listed."""

SIZES: Final = """
import importlib.metadata, json
found = {}
for part in importlib.metadata.distributions():
    files = [file.locate() for file in part.files or []]
    found[part.name] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(found))
"""
PEAK: Final = """
import sys
from edge_client.__main__ import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
CODERS: Final = """
import json, sys, time
import numpy as np
from shared.coding.ans import ConstrictionCoder, PlainCoder, Table
from shared.coding.symbol_coder import scale_tables
tables, ends = scale_tables()
counts = np.split(tables, ends[:-1])[24]
table, found = Table(counts), {}
parts = np.random.default_rng(0).integers(0, 1 << 24, int(sys.argv[1]))
symbols = (np.searchsorted(table.bounds, parts, "right") - 1).astype(np.int32)
for kind in (ConstrictionCoder, PlainCoder):
    start = time.process_time()
    coder = kind()
    coder.push(symbols, table)
    payload = coder.payload()
    between = time.process_time()
    assert (kind(payload).pop(table, len(symbols)) == symbols).all()
    found[kind.__name__] = [between - start, time.process_time() - between]
print(json.dumps(found))
"""
CODED: Final = 100_000  # symbols; 1 megapixel at the bundle's quality has about 85,000


@dataclass(frozen=True)
class Ran:
    """A process that ended well: seconds on the clock and of the processor, standard output."""

    wall: float
    cpu: float
    out: str

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s of the processor)"


def main(arguments: argparse.Namespace) -> None:
    """Install into an empty environment, measure, write the section. Needs a package index."""
    with tempfile.TemporaryDirectory(prefix="cotam-edge-") as folder:
        measured = measure(Path(folder))
    records = Records(arguments.results / "bench_edge.jsonl")
    records.add({"at": time.time()}, measured)
    write_section(arguments.report, "bench_edge", report(measured, command_line(arguments.words)))


def report(measured: dict[str, Any], command: str) -> str:
    """The section, from what `measure` found."""
    rows = [["installed, without pip itself", f"{measured['megabytes']:.0f} MB"]]
    rows += [[what, seconds] for what, seconds in measured["times"].items()]
    rows += [
        [f"peak memory, `encode --resolution native`, {size}", f"{peak:.0f} MB"]
        for size, peak in measured["peaks"].items()
    ]
    rows += [["torch, transformers and their like", ", ".join(measured["forbidden"]) or "none"]]
    weights = [
        [f"{name} {measured['versions'][name]}", f"{size:.1f}", PURPOSE[name.lower()]]
        for name, size in sorted(measured["sizes"].items(), key=lambda item: -item[1])
        if name.lower() in PURPOSE
    ]
    rest = sum(size for name, size in measured["sizes"].items() if name.lower() not in PURPOSE)
    count = len(measured["sizes"]) - len(weights)
    weights.append([f"{count} others", f"{rest:.1f}", "needed by those above"])
    push, pop = (
        [1e9 * measured["coders"][kind][i] / CODED for kind in ("ConstrictionCoder", "PlainCoder")]
        for i in (0, 1)
    )
    return "\n\n".join(
        [
            command,
            f"On {measured['cores']} cores with a load of {measured['load']:.1f} at the start. "
            f"Medians of {STARTS} processes after a first; pictures are drawn and saved as JPEG.",
            table(["base install", ""], rows),
            "What each dependency costs, and why it stays:",
            table(["", "MB", "for"], weights),
            "Where constriction has no wheel (Linux on aarch64), the coder in Python's integers "
            f"takes {push[1]:.0f} ns to write a symbol and {pop[1]:.0f} to read one, against "
            f"{push[0]:.0f} and {pop[0]:.0f}. At quality 3 that is {1e-6 * push[1] * 12_000:.0f} "
            f"ms more for 256x256 and {1e-6 * push[1] * 85_000:.0f} ms for 1 megapixel (12,000 and "
            "85,000 symbols).",
        ]
    )


def measure(folder: Path) -> dict[str, Any]:
    """Sizes in MB, times as text, peaks in MB of a base install inside `folder`."""
    load = os.getloadavg()[0]
    source, home = folder / "source", folder / "venv"
    copy_source(source)
    venv.create(home, with_pip=True)
    python, command = home / "bin" / "python", home / "bin" / "edge_client"
    constraints = source / "constraints.txt"
    pinned = ["-c", str(constraints)] if constraints.exists() else []
    run(folder, python, "-m", "pip", "install", "--quiet", *pinned, str(source))
    listed = json.loads(run(folder, python, "-m", "pip", "list", "--format=json").out)
    installed = json.loads(run(folder, python, "-c", SIZES).out)
    sizes = {name: size / 1e6 for name, size in installed.items() if name not in INSTALLER}
    pictures = {size: folder / f"{i}.jpg" for i, size in enumerate(NATIVE)}
    for size, path in pictures.items():
        Image.fromarray(tiled(*NATIVE[size])).save(path, quality=90)
    jpeg = str(next(iter(pictures.values())))
    encode = ("encode", "--quiet", "--resolution", "native", "-o", str(folder / "out.cotam"))
    return {
        "megabytes": sum(sizes.values()),
        "sizes": sizes,
        "versions": {entry["name"]: entry["version"] for entry in listed},
        "forbidden": [name for name in sizes if name.lower().replace("-", "_") in FORBIDDEN],
        "times": {
            "`edge_client --version`": median(folder, command, "--version"),
            "`edge_client --help`": median(folder, command, "--help"),
            "cold `edge_client encode`, 1 megapixel": median(folder, command, *encode, jpeg),
            "the same at 256 pixels, as `tiny` takes it": median(
                folder, command, "encode", "--quiet", "-o", str(folder / "small.cotam"), jpeg
            ),
        },
        "peaks": {
            size: int(run(folder, python, "-c", PEAK, *encode, str(path)).out) * 1024 / 1e6
            for size, path in pictures.items()
        },
        "coders": json.loads(run(folder, python, "-c", CODERS, str(CODED)).out),
        "load": load,
        "cores": len(os.sched_getaffinity(0)),
    }


def tiled(width: int, height: int) -> Picture:
    """A drawn picture u8 [height, width, 3], repeated to any size."""
    tile = drawn(1024, 1024)
    repeats = (-(-height // 1024), -(-width // 1024), 1)
    return np.ascontiguousarray(np.tile(tile, repeats)[:height, :width])


def copy_source(folder: Path) -> None:
    """What is needed to build the package, so that the build leaves nothing in the repository."""
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    if not (folder / "README.md").exists():
        (folder / "README.md").write_text("# CoTAM\n")


def median(folder: Path, command: Path, *words: str) -> str:
    """Median times of `STARTS` runs, and the first one's, as text."""
    first, *others = [run(folder, command, *words) for _ in range(STARTS + 1)]
    middle = sorted(others, key=lambda ran: ran.wall)[STARTS // 2]
    cpu = statistics.median(ran.cpu for ran in others)
    return f"{Ran(middle.wall, cpu, '')}; first {first.wall:.2f} s"


def run(folder: Path, command: Path, *words: str) -> Ran:
    """Run a program of the environment inside `folder`. Raises UsageError where it fails."""
    environment = {**os.environ, "PYTHONPATH": "", "COLUMNS": "100"}
    before, start = os.times(), time.perf_counter()
    completed = subprocess.run(
        [command, *words], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )
    wall, after = time.perf_counter() - start, os.times()
    if completed.returncode:
        raise UsageError(
            f"{command.name} {' '.join(words[:3])} failed: {completed.stderr.strip()[-300:]}",
            hint=f"needs a package index; Python {sys.version_info.major}.{sys.version_info.minor}",
        )
    cpu = sum(after[2:4]) - sum(before[2:4])
    return Ran(wall, cpu, completed.stdout)
