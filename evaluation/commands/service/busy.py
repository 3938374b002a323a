"""An answer beside a core that somebody else keeps busy: by threads that spin, and that sleep.

Four cells of one run: a server of each kind, with the core idle and busy, asked in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import numpy as np

from edge_client.coding.encoder import Encoder
from evaluation.commands.service.load import PROMPTS, scene_streams
from evaluation.machine.server_process import ServerProcess
from evaluation.report.document import command_line, table, write_section
from scenes import Backgrounds, render
from shared.bundle import open_bundle

SPIN: Final = {"GOMP_SPINCOUNT": "300000"}
"""What GNU's OpenMP, which torch brings on Linux, does where nobody says how to wait."""

Times = dict[tuple[str, bool], list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--repeats", type=int, default=24, help="answers of each cell")


def main(arguments: argparse.Namespace) -> None:
    """Measure and write the section `busy`."""
    bundle = open_bundle(arguments.bundle)
    streams = scene_streams(bundle)
    times: Times = {}
    flags = ["--bundle", arguments.bundle]
    with (
        ServerProcess(flags, environment=SPIN) as spinning,
        ServerProcess(flags) as sleeping,
        httpx.Client(timeout=300) as http,
    ):
        servers = {"server, spinning": spinning.url, "server, as it is": sleeping.url}
        for url in servers.values():
            for number in range(len(PROMPTS)):  # warms up
                _ask(http, url, streams[0], number)
        for busy in (False, True):
            with _busy_core(busy):
                for turn in range(arguments.repeats):
                    for name, url in servers.items():
                        taken = _ask(http, url, streams[turn % len(streams)], turn)
                        times.setdefault((name, busy), []).append(taken)
    encoder = Encoder(bundle)
    picture = render("test", 0, Backgrounds()).picture
    encoder.analyse(picture).code(bundle.manifest.quality)
    for busy in (False, True):
        with _busy_core(busy):
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                encoder.analyse(picture).code(bundle.manifest.quality)
                taken = 1000 * (time.perf_counter() - start)
                times.setdefault(("edge, one picture", busy), []).append(taken)
    write_section(arguments.report, "busy", _section(arguments, times))


def _ask(http: httpx.Client, url: str, stream: bytes, number: int) -> float:
    """Milliseconds of an answer."""
    form = {"bitstream": (None, stream), "prompt": (None, PROMPTS[number % len(PROMPTS)].encode())}
    start = time.perf_counter()
    http.post(f"{url}/v1/query", files=form).raise_for_status()
    return 1000 * (time.perf_counter() - start)


@contextmanager
def _busy_core(busy: bool) -> Iterator[None]:
    """A process that does nothing but compute, where `busy`."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _section(arguments: argparse.Namespace, times: Times) -> str:
    head = ["", "idle, ms", "busy, ms", "slowest of busy", "busy / idle"]
    rows = []
    for name in dict.fromkeys(name for name, _ in times):
        idle, busy = (statistics.median(times[name, each]) for each in (False, True))
        worst = max(times[name, True])
        cells = (f"{idle:.0f}", f"{busy:.0f}", f"{worst:.0f}", f"{busy / idle:.1f}")
        rows.append([name, *cells])
    beside = np.median(times["server, spinning", True]) / np.median(times["server, as it is", True])
    return "\n\n".join(
        (
            command_line(arguments.words),
            f"{os.cpu_count()} cores, one of them busy in turn; medians of {arguments.repeats} "
            "answers about pictures of Scenes, one after the other.",
            table(head, rows),
            f"Beside a busy core an answer takes {beside:.1f} times as long where threads spin.",
        )
    )
