"""How long an answer takes by line, asked back and not: a real server, the real edge, a slow line.

edge --relay that is as slow as the line--> server

Times of one round and of two are measured; how often there are two, and what is right then, is what
`ask_back` found on its scenes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
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
from evaluation.judges.accuracy import Measured as Accuracies
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
    """What passed over a line. ones: by the quality of one stream. asks: with a second round
    wherever one is to be had."""

    rate: float
    there_and_back: float
    ones: dict[float, Timed]
    asks: Timed

    @property
    def twice(self) -> NDArray[np.bool_]:
        """The scenes about which there was a second round, [S]."""
        return self.asks.rounds > 1

    @property
    def again(self) -> tuple[float, float]:
        """Bytes up and down that a second round adds, the medians."""
        first, twice = self.ones[SERVED.first], self.twice
        up, down = self.asks.up - first.up, self.asks.down - first.down
        return float(np.median(up[twice])), float(np.median(down[twice]))

    def passes(self, size: float, rounds: float = 1.0) -> float:
        """Milliseconds that so many bytes and ways there and back take on this line."""
        return 8 * size / self.rate + 1000 * self.there_and_back * rounds

    def besides(self, timed: Timed) -> Array:
        """Milliseconds of each scene that the line does not explain, [S]."""
        of_line = map(self.passes, timed.up + timed.down, timed.rounds)
        left: Array = timed.ms - np.array([*of_line])
        return left


@dataclass(frozen=True)
class Measured:
    """What passed over each line, and what edge and server need besides, in milliseconds.

    first: to code a picture, decode it and answer. again: what a second round adds.
    """

    over: list[OverLine]
    first: float
    again: float

    @classmethod
    def of(cls, over: list[OverLine]) -> Measured:
        """What else the processors do only adds to a time: of each scene the least counts."""
        twice = np.all([each.twice for each in over], axis=0)
        once = [each.besides(each.ones[SERVED.first]) for each in over]
        asked = [each.besides(each.asks) for each in over]
        first, both = (np.median(np.min(each, axis=0)[twice]) for each in (once, asked))
        return cls(over, float(first), float(both - first))

    def one_stream(self, lined: OverLine, quality: float) -> float:
        """Milliseconds to the answer to one stream of a quality."""
        passed = lined.ones[quality].up + lined.ones[quality].down
        return lined.passes(float(np.median(passed))) + self.first

    def second(self, lined: OverLine) -> float:
        """Milliseconds that a second round adds."""
        return lined.passes(sum(lined.again)) + self.again


def main(arguments: argparse.Namespace) -> None:
    """Time what is not yet timed, ask what is not yet asked, then write section and plot."""
    torch.set_num_threads(arguments.threads)
    records = Records(arguments.results / "ask_back.jsonl")
    bundle = open_bundle(arguments.bundle)
    qualities = sorted({*arguments.qualities, SERVED.first})
    timed = Measured.of(_over_lines(bundle, records, qualities, arguments))
    asker = Asker(bundle, records, arguments.world)
    values = ask_back.ask_all(asker, "test", arguments, [SERVED])[SERVED]
    alone = ask_back.one_stream(bundle, records, arguments)
    _plot(timed, values, alone, arguments.report.parent / "img" / PLOT)
    write_section(arguments.report, "ask-latency", _text(timed, values, alone, arguments))


def _over_lines(
    bundle: Bundle, records: Records, qualities: list[float], arguments: argparse.Namespace
) -> list[OverLine]:
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
    over_lines = []
    for at in LINES:
        timed = {way: _timed(records.get(keys[at, way])) for way in ways}
        ones = {quality: timed[quality, False] for quality in qualities}
        over_lines.append(OverLine(*at, ones, timed[SERVED.first, True]))
    return over_lines


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
    fastest: list[list[float]] = []
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
            fastest.append(min(tries))
    columns = [list(column) for column in zip(*fastest, strict=True)]
    return dict(zip(("ms", "up", "down", "rounds"), columns, strict=True))


def _text(
    timed: Measured, values: list[Fields], alone: Accuracies, arguments: argparse.Namespace
) -> str:
    rows = [
        _row(timed, lined, values, alone, threshold)
        for threshold in (0.8, THRESHOLDS[-1])
        for lined in timed.over
    ]
    head = ["line", "asks below", "right", "requests", "first answer", "second round adds"]
    head += ["last answer, mean", "one stream as good", "change", "saves bytes up, down"]
    head += ["pays below"]
    return "\n\n".join(
        [
            command_line(arguments.words),
            "A server with one thread, the edge, and between them a relay that lets bytes pass as "
            "a line does: kbit a second each way, milliseconds there and back, on a kept "
            f"connection. The first questions of {arguments.scenes} test scenes were asked, "
            f"{arguments.turns} times over each line, of which the least counts. Besides what its "
            f"bytes and ways take, an answer takes {timed.first:.0f} ms of edge and server (coding "
            f"the picture is part of it), and a second round {timed.again:.0f} ms more: of each "
            "scene the least over the lines, of these the median; the times here are the line's "
            f"and these together. A first answer is that to a stream of quality {SERVED.first:g}, "
            f"provisional where a second follows, of {SERVED.cells} cells at {SERVED.quality:g}. "
            f"Shares and accuracies are those of {arguments.pictures} test scenes, by sureness; "
            "one stream is that which answers as well, between those that were measured. *Pays "
            "below*: at which rate of a line with that way there and back asking back saves time; "
            "never, where both answers' bytes are more than one stream's and its answer's.",
            table(head, rows),
            f"![time and accuracy by line](img/{PLOT})",
        ]
    )


def _row(
    timed: Measured,
    lined: OverLine,
    values: list[Fields],
    alone: Accuracies,
    threshold: float,
) -> list[str]:
    right, _, _, share = (float(x[0]) for x in sums_of(values, threshold).means(_ones(values)))
    first, adds = timed.one_stream(lined, SERVED.first), timed.second(lined)
    accuracies = _accuracies(alone, lined)
    wanted = np.array([*accuracies.values()])

    def as_good(of: Callable[[float], float]) -> float:
        return rate_at(Curve(np.array([of(quality) for quality in accuracies]), wanted), right)

    single = as_good(lambda quality: timed.one_stream(lined, quality))
    single_up = as_good(lambda quality: float(np.median(lined.ones[quality].up)))
    up, down = lined.again
    up = single_up - float(np.median(lined.ones[SERVED.first].up)) - share * up
    down *= -share
    return [
        f"{lined.rate:g} kbit/s, {1000 * lined.there_and_back:g} ms",
        f"{threshold:.2f}",
        f"{right:.4f}",
        f"{1 + share:.2f}",
        f"{first:.0f} ms",
        f"{adds:.0f} ms",
        f"{first + share * adds:.0f} ms",
        f"{single:.0f} ms",
        f"{first + share * adds - single:+.0f} ms",
        f"{up:.0f}, {down:.0f}",
        _pays_below(up + down, share * (lined.passes(0.0) + timed.again)),
    ]


def _pays_below(saved: float, costs_ms: float) -> str:
    """The rate at which bytes that are saved take as long as what a second round costs besides."""
    return "never" if saved <= 0 else f"{8 * saved / costs_ms:.0f} kbit/s"


def _accuracies(alone: Accuracies, lined: OverLine) -> dict[float, float]:
    """Share of right answers by the quality of one stream, of those that were timed."""
    ones = np.ones((1, len(alone.questions)))
    place = COLUMNS.index(OVERALL)
    return {
        condition.quality: float(alone.accuracy(condition, ones)[0, place])
        for condition in alone.of("full")
        if condition.quality in lined.ones
    }


def _ones(values: list[Fields]) -> Array:
    return np.ones((1, len(values)))


def _plot(timed: Measured, values: list[Fields], alone: Accuracies, path: Path) -> None:
    made, axes = figure(len(timed.over), 1, 3.4, 3.2)
    means = [sums_of(values, threshold).means(_ones(values)) for threshold in THRESHOLDS]
    for axis, lined in zip(axes, timed.over, strict=True):
        accuracies = _accuracies(alone, lined)
        times = [timed.one_stream(lined, quality) for quality in accuracies]
        line(axis, times, [100 * each for each in accuracies.values()], "base", "one stream")
        first, adds = timed.one_stream(lined, SERVED.first), timed.second(lined)
        asked = [first + float(each[3][0]) * adds for each in means]
        right = [100 * float(each[0][0]) for each in means]
        line(axis, asked, right, "full", "asks back, last answer", marker="")
        axis.axvline(first, color="#999999", linestyle=":", label="asks back, first answer")
        axis.set_title(f"{lined.rate:g} kbit/s, {1000 * lined.there_and_back:g} ms", fontsize=9)
        axis.set_xlabel("mean ms from picture to answer")
    axes[0].set_ylabel("right answers, %")
    axes[-1].legend(fontsize=7, frameon=False)
    save(made, path)
