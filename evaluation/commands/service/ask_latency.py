"""How long an answer takes by line, asked back and not: a real server, the real edge, a slow line.

edge --relay that is as slow as the line--> server

Times of one round and of two are measured; how often there are two, and what is right then, is what
`ask_back` found on its scenes.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.inference.need import MOST_CELLS, QUALITY
from edge_client.server.client import FIRST_QUALITY, AskBack, EdgeClient
from edge_client.server.exchange import Attempt
from evaluation.commands.models import ask_back
from evaluation.judges.accuracy import Measured
from evaluation.judges.asking import THRESHOLDS, Asker, Plan, sums_of
from evaluation.judges.families import COLUMNS, OVERALL
from evaluation.machine.line import Line
from evaluation.machine.relay import counting_relay
from evaluation.machine.server_process import ServerProcess
from evaluation.report.document import command_line, table, write_section
from evaluation.report.plots import figure, line, save
from evaluation.report.records import Fields, Records
from evaluation.stats.curves import Curve, rate_at
from scenes import Backgrounds, Scene, render
from shared.bundle import Bundle, open_bundle

PLOT: Final = "ask_latency.png"
LINES: Final = ((1000.0, 0.05), (256.0, 0.1), (64.0, 0.3))
"""kbit a second each way, and seconds there and back."""
SERVED: Final = Plan(FIRST_QUALITY, MOST_CELLS, QUALITY)
"""What edge and server do where nothing else is said."""
ALWAYS: Final = AskBack(confidence=1.0)
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ask_back.add_arguments(parser)
    parser.add_argument("--scenes", type=int, default=8, help="whose first question is timed")
    parser.add_argument("--turns", type=int, default=2, help="of each; the least counts")


@dataclass(frozen=True)
class Timed:
    """Questions over a line, one a scene: milliseconds, bytes up and down, requests, [S] each."""

    ms: Array
    up: Array
    down: Array
    rounds: Array


@dataclass(frozen=True)
class OverLine:
    """What a line does to answers. ones: by the quality of one stream. asks: with a second round
    wherever one is to be had."""

    ones: dict[float, Timed]
    asks: Timed

    @property
    def again(self) -> Array:
        """Milliseconds, bytes up and bytes down that a second round adds, the medians, [3]."""
        twice = self.asks.rounds > 1
        first = self.ones[SERVED.first]
        pairs = ((self.asks.ms, first.ms), (self.asks.up, first.up), (self.asks.down, first.down))
        return np.array([np.median((both - once)[twice]) for both, once in pairs])

    def median(self, quality: float) -> float:
        """Milliseconds of an answer to one stream."""
        return float(np.median(self.ones[quality].ms))


def main(arguments: argparse.Namespace) -> None:
    """Time what is not yet timed, ask what is not yet asked, then write section and plot."""
    torch.set_num_threads(arguments.threads)
    records = Records(arguments.results / "ask_back.jsonl")
    bundle = open_bundle(arguments.bundle)
    qualities = sorted({*arguments.qualities, SERVED.first})
    over = _over_lines(bundle, records, qualities, arguments)
    asker = Asker(bundle, records, arguments.world)
    values = ask_back.ask_all(asker, "test", arguments, [SERVED])[SERVED]
    measured = ask_back.one_stream(bundle, records, arguments)
    plot = arguments.report.parent / "img" / PLOT
    _plot(over, values, measured, plot)
    write_section(arguments.report, "ask-latency", _text(over, values, measured, arguments))


def _over_lines(
    bundle: Bundle, records: Records, qualities: list[float], arguments: argparse.Namespace
) -> dict[tuple[float, float], OverLine]:
    backgrounds = Backgrounds.builtin()
    scenes = [render("test", index, backgrounds) for index in range(arguments.scenes)]
    ways = [(quality, False) for quality in qualities] + [(SERVED.first, True)]
    key = {"bundle": bundle.hex_id, "scenes": arguments.scenes, "turns": arguments.turns}
    keys = {
        (at, way): {**key, "line": at, "quality": way[0], "asks": way[1], "served": _name(SERVED)}
        for at in LINES
        for way in ways
    }
    if any(records.get(each) is None for each in keys.values()):
        flags = ("--bundle", str(bundle.root), "--threads", "1")
        with ServerProcess(flags) as server:
            for (at, way), each in tqdm(keys.items(), desc="over lines", file=sys.stderr):
                turns = arguments.turns
                records.measure(each, _ask_over, server.url, bundle, scenes, at, way, turns)
    found: dict[tuple[float, float], OverLine] = {}
    for at in LINES:
        timed = {way: _timed(records.get(keys[at, way])) for way in ways}
        ones = {quality: timed[quality, False] for quality in qualities}
        found[at] = OverLine(ones, timed[SERVED.first, True])
    return found


def _name(plan: Plan) -> list[float]:
    return [plan.first, plan.cells, plan.quality]


def _timed(value: Fields | None) -> Timed:
    assert value is not None
    return Timed(*(np.array(value[name]) for name in ("ms", "up", "down", "rounds")))


def _ask_over(
    url: str,
    bundle: Bundle,
    scenes: list[Scene],
    at: tuple[float, float],
    way: tuple[float, bool],
    turns: int,
) -> Fields:
    """The first question of each scene over a line, on a kept connection; the least of the turns.

    Milliseconds are those from the picture to the answer: its coding is part of them.
    """
    rate, there_and_back = at
    up, down = (Line(1000 * rate, there_and_back / 2) for _ in range(2))
    quality, asks = way
    found: list[list[float]] = []
    with (
        counting_relay(url, up=up, down=down) as relay,
        EdgeClient(
            relay.url,
            bundle=bundle,
            quality=quality,
            threads=1,
            ask_back=ALWAYS if asks else None,
        ) as client,
    ):
        client.ask(scenes[0].picture, scenes[0].questions[0].prompt)  # connects, agrees, warms up
        for scene in scenes:
            tries = []
            for _ in range(turns):
                before, start = (relay.up, relay.down), time.perf_counter()
                attempt = client.attempt(Attempt(scene.picture, scene.questions[0].prompt))
                attempt.result()
                ms = 1000 * (time.perf_counter() - start)
                passed = relay.up - before[0], relay.down - before[1]
                tries.append([ms, *passed, len(attempt.rounds)])
            found.append(min(tries))
    columns = [list(column) for column in zip(*found, strict=True)]
    return dict(zip(("ms", "up", "down", "rounds"), columns, strict=True))


def _text(
    over: dict[tuple[float, float], OverLine],
    values: list[Fields],
    measured: Measured,
    arguments: argparse.Namespace,
) -> str:
    rows = []
    for threshold in (0.0, 0.8, THRESHOLDS[-1]):
        for at, lined in over.items():
            rows.append(_row(at, lined, values, measured, threshold))
    head = ["line", "asks below", "right", "requests", "first answer", "last answer, mean"]
    head += ["one stream as good", "change", "saves bytes", "pays below"]
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"A server with one thread, the edge, and between them a relay that lets bytes pass as "
            f"a line does: kbit a second each way, milliseconds there and back. Times are from the "
            f"picture to the answer, its coding included, on a kept connection: the medians of the "
            f"first questions of {arguments.scenes} test scenes, the least of {arguments.turns} "
            f"turns each. A first answer is that to a stream of quality {SERVED.first:g}, "
            f"provisional where a second follows, of {SERVED.cells} cells at {SERVED.quality:g}. "
            f"Shares and accuracies are those of {arguments.pictures} test scenes, by sureness; "
            "one stream is that which answers as well, between those that were measured. Bytes "
            "are those that travel, both ways. Below which rate of a line with that way there and "
            "back asking back saves time follows from the medians; never, where the second "
            "answer's bytes are more than the first stream saves.",
            table(head, rows),
            f"![time and accuracy by line](img/{PLOT})",
        ]
    )


def _row(
    at: tuple[float, float],
    lined: OverLine,
    values: list[Fields],
    measured: Measured,
    threshold: float,
) -> list[str]:
    rate, there_and_back = at
    right, _, _, second = (float(x[0]) for x in sums_of(values, threshold).means(_ones(values)))
    again, sent_again, heard_again = lined.again
    first = lined.median(SERVED.first)
    mean = first + second * again
    one = _one_stream_as_good(lined, measured, right, "ms")
    one_up = _one_stream_as_good(lined, measured, right, "up")
    saved = one_up - float(np.median(lined.ones[SERVED.first].up))
    saved -= second * (sent_again + heard_again)
    return [
        f"{rate:g} kbit/s, {1000 * there_and_back:g} ms",
        f"{threshold:.2f}" if threshold else "never",
        f"{right:.4f}",
        f"{1 + second:.2f}",
        f"{first:.0f} ms",
        f"{mean:.0f} ms",
        f"{one:.0f} ms",
        f"{mean - one:+.0f} ms",
        f"{saved:.0f}",
        _pays_below(saved, second * (again - 8 * (sent_again + heard_again) / rate)),
    ]


def _pays_below(saved: float, costs_ms: float) -> str:
    """The rate at which bytes that are saved take as long as what a second round costs besides."""
    if saved <= 0 or costs_ms <= 0:
        return "never" if saved <= 0 else "-"
    return f"{8 * saved / costs_ms:.0f} kbit/s"


def _one_stream_as_good(lined: OverLine, measured: Measured, right: float, name: str) -> float:
    """Median of one stream's times or bytes where it answers as well; nan where it does not."""
    accuracies = _accuracies(measured, lined)
    medians = [float(np.median(getattr(lined.ones[quality], name))) for quality in accuracies]
    return rate_at(Curve(np.array(medians), np.array([*accuracies.values()])), right)


def _accuracies(measured: Measured, lined: OverLine) -> dict[float, float]:
    """Share of right answers by the quality of one stream, of those that were timed."""
    ones = np.ones((1, len(measured.questions)))
    place = COLUMNS.index(OVERALL)
    return {
        condition.quality: float(measured.accuracy(condition, ones)[0, place])
        for condition in measured.of("full")
        if condition.quality in lined.ones
    }


def _ones(values: list[Fields]) -> Array:
    return np.ones((1, len(values)))


def _plot(
    over: dict[tuple[float, float], OverLine],
    values: list[Fields],
    measured: Measured,
    path: Path,
) -> None:
    made, axes = figure(len(over), 1, 3.4, 3.2)
    ones = _ones(values)
    found = [sums_of(values, threshold).means(ones) for threshold in THRESHOLDS]
    for axis, ((rate, there_and_back), lined) in zip(axes, over.items(), strict=True):
        alone = _accuracies(measured, lined)
        times = [lined.median(quality) for quality in alone]
        line(axis, times, [100 * each for each in alone.values()], "base", "one stream")
        first, again = lined.median(SERVED.first), lined.again[0]
        asked = [first + float(each[3][0]) * again for each in found]
        right = [100 * float(each[0][0]) for each in found]
        line(axis, asked, right, "full", "asks back, last answer", marker="")
        axis.axvline(first, color="#999999", linestyle=":", label="asks back, first answer")
        axis.set_title(f"{rate:g} kbit/s, {1000 * there_and_back:g} ms", fontsize=9)
        axis.set_xlabel("mean ms from picture to answer")
    axes[0].set_ylabel("right answers, %")
    axes[-1].legend(fontsize=7, frameon=False)
    save(made, path)
