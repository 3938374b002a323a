"""What the base install weighs and how fast it starts: a fresh environment, the real installer."""

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
from pathlib import Path
from typing import Final

from evaluation.records import Records
from evaluation.report import command_line, table, write_section
from shared.errors import UsageError

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = ("edge_client", "cloud_server", "shared", "scenes", "training", "evaluation")
FILES: Final = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt")
FORBIDDEN: Final = ("torch", "torchvision", "transformers", "open_clip_torch", "compressai")
INSTALLER: Final = ("pip", "setuptools")
STARTS: Final = 7


def main(arguments: argparse.Namespace) -> None:
    """Install into an empty environment, measure, write the section. Needs a package index."""
    with tempfile.TemporaryDirectory(prefix="cotam-edge-") as folder:
        found = measure(Path(folder))
    records = Records(arguments.results / "bench_edge.jsonl")
    records.add({"at": time.time()}, found)
    heavy = ", ".join(f"{name} {size:.1f}" for name, size in found["heaviest"])
    rows = [
        ["installed, without pip itself", f"{found['megabytes']:.0f} MB"],
        *(
            [
                f"`edge_client {flag}`, median of {STARTS} starts, the first apart",
                f"{found[flag]:.2f} s (first {found[flag + ' first']:.2f} s)",
            ]
            for flag in ("--version", "--help")
        ),
        ["packages", str(len(found["packages"]))],
        ["torch, transformers and their like among them", ", ".join(found["forbidden"]) or "none"],
    ]
    body = [
        command_line(arguments.words),
        table(["base install", ""], rows),
        f"Heaviest, MB: {heavy}.",
    ]
    write_section(arguments.report, "bench_edge", "\n\n".join(body))


def measure(folder: Path) -> dict[str, object]:
    """Sizes in MB, starts in seconds and packages of a base install inside `folder`."""
    source, home = folder / "source", folder / "venv"
    copy_source(source)
    venv.create(home, with_pip=True)
    python, command = home / "bin" / "python", home / "bin" / "edge_client"
    constraints = source / "constraints.txt"
    pinned = ["-c", str(constraints)] if constraints.exists() else []
    _run(python, "-m", "pip", "install", "--quiet", *pinned, str(source))
    listed = json.loads(_run(python, "-m", "pip", "list", "--format=json"))
    names = sorted(entry["name"] for entry in listed)
    sizes = _sizes(home)
    found: dict[str, object] = {
        "megabytes": sum(sizes.values()) / 1e6,
        "heaviest": [
            (name, size / 1e6) for name, size in sorted(sizes.items(), key=lambda s: -s[1])[:6]
        ],
        "packages": names,
        "forbidden": [name for name in names if name.lower().replace("-", "_") in FORBIDDEN],
    }
    for flag in ("--version", "--help"):
        starts = [_time(command, flag) for _ in range(STARTS + 1)]
        found[f"{flag} first"], found[flag] = starts[0], statistics.median(starts[1:])
    return found


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


def _sizes(home: Path) -> dict[str, int]:
    """Bytes by entry of site-packages, compiled files included, pip and setuptools left out."""
    packages = next(home.glob("lib*/python*/site-packages"))
    return {
        entry.name: sum(f.stat().st_size for f in [entry, *entry.rglob("*")] if f.is_file())
        for entry in packages.iterdir()
        if not entry.name.startswith(INSTALLER)
    }


def _time(command: Path, flag: str) -> float:
    start = time.perf_counter()
    _run(command, flag)
    return time.perf_counter() - start


def _run(command: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "", "COLUMNS": "100"}
    done = subprocess.run([command, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UsageError(
            f"{command.name} {' '.join(words[:3])} failed: {done.stderr.strip()[-300:]}",
            hint=f"needs a package index; Python {sys.version_info.major}.{sys.version_info.minor}",
        )
    return done.stdout
