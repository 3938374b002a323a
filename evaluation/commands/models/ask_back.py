"""Bytes an answer where the model asks back, against one stream that answers as well.

validation scenes --> which plan and which confidence reach an accuracy in the fewest bytes
test scenes -------> what these take, beside one stream and AVIF at the accuracy that they reach
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.calibration import calibration_of
from cloud_server.settings import load_settings
from edge_client.server.protocol import enhancement_of, request_of
from edge_client.server.query import AskBack, Query
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.equal_bytes import MATCHED_ON, match_formats
from evaluation.codecs.pillow_formats import FORMATS
from evaluation.judges.accuracy import Condition, Measured, collect
from evaluation.judges.asking import UNSURE, Asker, Plan
from evaluation.judges.conditions import transmitter
from evaluation.judges.families import COLUMNS, FAMILIES, OVERALL, Posed
from evaluation.judges.grading import Grader
from evaluation.report.document import command_line, table, write_section
from evaluation.report.plots import figure, line, log_bytes, save
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from evaluation.stats.curves import Curve, rate_at
from scenes import Backgrounds, Split, render
from shared.bundle import Bundle, open_bundle

TARGETS: Final = (0.93, 0.94, 0.95)
THRESHOLDS: Final = (0.0, *np.round(np.arange(0.4, UNSURE + 1e-9, 0.025), 3).tolist())
"""Of sureness, below which it is asked back; 0 for never."""
HANDLE: Final = "ask_0123456789abcdef"
LINES: Final = ((1000.0, 0.05), (64.0, 0.3))
"""kbit a second, and seconds there and back."""
PLOT: Final = "ask_back.png"
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=200, help="test scenes")
    parser.add_argument("--validation", type=int, default=40, help="scenes to choose on")
    parser.add_argument("--first", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--cells", type=int, nargs="+", default=[16])
    parser.add_argument("--quality", type=float, nargs="+", default=[5.0], help="of the cells")
    parser.add_argument(
        "--qualities", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0, 3.0, 4.0]
    )
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


@dataclass(frozen=True)
class Asked:
    """Sums over the questions of each picture, f64 [P]: questions, right answers, stream bytes,
    second requests, bytes of questions and headers."""

    asked: Array
    right: Array
    bytes: Array
    rounds: Array
    around: Array

    def means(self, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Accuracy, stream bytes, bytes as they travel and second requests an answer, [R] each."""
        total = weights @ self.asked
        found = [weights @ each / total for each in (self.right, self.bytes, self.rounds)]
        return found[0], found[1], found[1] + weights @ self.around / total, found[2]


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write section and plot."""
    torch.set_num_threads(arguments.threads)
    records = Records(arguments.results / "ask_back.jsonl")
    bundle = open_bundle(arguments.bundle)
    plans = [
        Plan(first, cells, quality)
        for first in arguments.first
        for cells in arguments.cells
        for quality in arguments.quality
    ]
    asker = Asker(bundle, records)
    chosen_on = _ask(asker, "val", arguments.validation, plans)
    told = _ask(asker, "test", arguments.pictures, plans)
    measured = _one_stream(bundle, records, arguments)
    body = _text(chosen_on, told, measured, bundle, arguments)
    write_section(arguments.report, "ask-back", body)


def _ask(asker: Asker, split: Split, count: int, plans: list[Plan]) -> dict[Plan, list[Fields]]:
    backgrounds = Backgrounds.builtin()
    found: dict[Plan, list[Fields]] = {plan: [] for plan in plans}
    for index in tqdm(range(count), desc=f"asking, {split}", unit="picture", file=sys.stderr):
        scene = render(split, index, backgrounds)
        if scene.questions:
            for plan in plans:
                found[plan].append(asker.ask(split, index, scene, plan))
    return found


def _one_stream(bundle: Bundle, records: Records, arguments: argparse.Namespace) -> Measured:
    """One stream of each quality, and AVIF, by the grades of the packed questions."""
    backgrounds, ours, grader = Backgrounds.builtin(), CotamCodec(bundle), Grader(bundle, records)
    first = [render("test", i, backgrounds).picture for i in range(MATCHED_ON)]
    avif = [form for form in FORMATS if form.name == "AVIF"]
    matched = match_formats(ours, first, arguments.qualities[-1:], avif, records)
    conditions = [Condition("full", quality) for quality in arguments.qualities]
    conditions += [Condition("AVIF", float(quality)) for quality in matched["AVIF"]]
    for index in tqdm(range(arguments.pictures), desc="one stream", unit="picture"):
        scene = render("test", index, backgrounds)
        grader.grade(index, scene, conditions, transmitter(scene.picture, ours))
    return collect(records, bundle.hex_id, arguments.pictures)


def _sums(values: list[Fields], threshold: float, column: str = OVERALL) -> Asked:
    """What asking back below a sureness gives, over the questions of a column."""
    first, again = _framing(True), _framing_of_enhancement()
    rows = []
    for value in values:
        row = np.zeros(5)
        for number, name in enumerate(value["families"]):
            if column not in Posed(name, "").columns:
                continue
            size, right, more = value["bytes"], value["right"][number], 0
            if value["sure"][number] < threshold:
                enhancement, right, _ = value["second"][str(number)]
                size, more = size + enhancement, 1
            around = first + value["prompts"][number] + more * again
            row += [1, right, size, more, around]
        rows.append(row)
    return Asked(*np.array(rows).T)


@functools.cache
def _framing(asks: bool) -> int:
    """Bytes around stream and question of a request as httpx writes it."""
    query = Query(b"", "?", ask_back=AskBack() if asks else None)
    return _bytes_of(request_of(query)) - 1


@functools.cache
def _framing_of_enhancement() -> int:
    return _bytes_of(enhancement_of(HANDLE, b""))


def _bytes_of(arguments: dict[str, Any]) -> int:
    with httpx.Client(base_url="http://127.0.0.1:54321") as client:
        client.headers.clear()
        request = client.build_request(
            **{**arguments, "content": arguments["content"] + b"0" * 300}
        )
    first = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
    head = sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
    return len(first) + head + 2 + len(arguments["content"])


def _choose(chosen_on: dict[Plan, list[Fields]], target: float) -> tuple[Plan, float]:
    """The plan and threshold that reach an accuracy in the fewest bytes as they travel."""
    every = []
    for plan, values in chosen_on.items():
        ones = np.ones((1, len(values)))
        for threshold in THRESHOLDS:
            right, _, travel, _ = (each[0] for each in _sums(values, threshold).means(ones))
            every.append((right < target, travel if right >= target else -right, plan, threshold))
    _, _, plan, threshold = min(every)
    return plan, threshold


def _text(
    chosen_on: dict[Plan, list[Fields]],
    told: dict[Plan, list[Fields]],
    measured: Measured,
    bundle: Bundle,
    arguments: argparse.Namespace,
) -> str:
    weights = resamples(len(next(iter(told.values()))))
    calibration = calibration_of(load_settings(), [bundle])
    rows, points = [], []
    for target in TARGETS:
        plan, threshold = _choose(chosen_on, target)
        right, size, travel, second = _sums(told[plan], threshold).means(weights)
        ours, theirs = (_equal(measured, codec, weights, right) for codec in ("full", "AVIF"))
        prompts = np.array([np.mean(value["prompts"]) for value in told[plan]])
        around = _framing(False) + weights @ prompts / weights.sum(1)
        points.append((float(size[0]), float(ours[0]), float(second[0]), plan, threshold))
        rows.append(
            [
                f"{target:.2f}",
                f"{plan.first:g}, {plan.cells} at {plan.quality:g}",
                f"{calibration.confidence(threshold):.2f}" if threshold else "never",
                f"{right[0]:.4f}",
                f"{1 + second[0]:.2f}",
                f"{size[0]:.0f}",
                f"{ours[0]:.0f}",
                with_interval(size / ours - 1),
                with_interval(travel / (ours + around) - 1),
                "-" if not np.isfinite(theirs[0]) else f"{theirs[0]:.0f}",
            ]
        )
    _plot(told, measured, weights, arguments.report.parent / "img" / PLOT)
    head = ["aim", "plan", "asks below", "right", "requests", "bytes", "one stream"]
    head += ["change", "as they travel", "AVIF"]
    questions = int(measured.questions[:, COLUMNS.index(OVERALL)].sum())
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{arguments.pictures} test scenes, {questions} questions, bundle {bundle.hex_id}. A "
            "plan is the quality of the first stream, and how many cells of 16 pixels are asked "
            f"for at which quality; plan and confidence were chosen on {arguments.validation} "
            "validation scenes, to reach the accuracy that is aimed at in the fewest bytes. Bytes "
            "are those of streams and enhancements, a mean over answers; one stream's and AVIF's "
            "curves are read at the accuracy that was reached. As they travel: with the question, "
            f"and {_framing(False)} bytes of headers, {_framing(True)} of a request that may be "
            f"asked back, {_framing_of_enhancement()} of an enhancement's. Ranges: the middle "
            f"95 % of {RESAMPLES} resamples of the scenes (seed {SEED}), both sides drawn alike.",
            table(head, rows),
            f"![bytes and accuracy](img/{PLOT})",
            _by_task(told, measured, points[1]),
            _latency(told, points),
        ]
    )


def _equal(measured: Measured, codec: str, weights: Array, wanted: Array) -> Array:
    """Bytes an answer at which a codec reaches accuracies [R]; nan where it does not."""
    rates, scores = _curve(measured, codec, weights)
    return np.array(
        [rate_at(Curve(*row[:2]), row[2]) for row in zip(rates, scores, wanted, strict=True)]
    )


def _curve(measured: Measured, codec: str, weights: Array) -> tuple[Array, Array]:
    """Mean bytes an answer and accuracy, [R, S] each, sizes rising."""
    place = COLUMNS.index(OVERALL)
    asked = measured.questions[:, place]
    conditions = sorted(measured.of(codec), key=lambda c: float(measured.sizes[c] @ asked))
    rates = [weights @ (measured.sizes[c] * asked) / (weights @ asked) for c in conditions]
    scores = [measured.accuracy(c, weights)[:, place] for c in conditions]
    return np.stack(rates, 1), np.stack(scores, 1)


def _by_task(
    told: dict[Plan, list[Fields]],
    measured: Measured,
    point: tuple[float, float, float, Plan, float],
) -> str:
    size, _, _, plan, threshold = point
    ones = np.ones((1, len(measured.questions)))
    rates, _ = _curve(measured, "full", ones)
    conditions = sorted(measured.of("full"), key=lambda c: float(measured.sizes[c].sum()))
    near = conditions[int(np.abs(np.log(rates[0] / size)).argmin())]
    rows = []
    for column in FAMILIES:
        before, after = (_sums(told[plan], t, column) for t in (0.0, threshold))
        if not after.asked.sum():
            continue
        first, again = before.means(ones), after.means(ones)
        one = measured.accuracy(near, ones)[0, COLUMNS.index(column)]
        row = [f"{after.asked.sum():.0f}", *(f"{100 * x[0][0]:.1f}" for x in (first, again))]
        rows.append(
            [column, *row, f"{100 * again[3][0]:.0f} %", f"{again[1][0]:.0f}", f"{100 * one:.1f}"]
        )
    head = ["task", "questions", "right at first", "right", "asked back", "bytes"]
    return (
        "By task, in percent, of the plan for the middle aim; beside it one stream of quality "
        f"{near.quality:g}, {measured.size(near, ones)[0]:.0f} bytes.\n\n"
        + table([*head, "one stream"], rows)
    )


def _latency(
    told: dict[Plan, list[Fields]], points: list[tuple[float, float, float, Plan, float]]
) -> str:
    """Time of an answer by line: bytes, ways there and back, and the server's processor time."""
    rows = []
    for target, (size, one, second, plan, _) in zip(TARGETS, points, strict=True):
        first_ms, second_ms = (
            float(np.mean([value["ms"][i] for value in told[plan] if value["ms"][i] is not None]))
            for i in (0, 1)
        )
        if not second or not np.isfinite(one):
            continue
        saved = one - size - second * _framing_of_enhancement() + _framing(False) - _framing(True)
        cells = []
        for rate, there in LINES:
            cost = second * (there + second_ms / 1000)
            cells.append(f"{1000 * (cost - 8 * saved / (1000 * rate)):+.0f} ms")
        slowest = [8 * saved / (1000 * second * (there + second_ms / 1000)) for _, there in LINES]
        rows.append(
            [f"{target:.2f}", f"{first_ms:.0f}, {second_ms:.0f} ms", *cells]
            + [f"{max(0.0, rate):.0f}" for rate in slowest]
        )
    names = [f"{rate:g} kbit/s, {1000 * there:g} ms" for rate, there in LINES]
    limits = [f"pays below kbit/s at {1000 * there:g} ms" for _, there in LINES]
    return (
        "What asking back costs or saves of the mean time of an answer, by line (the server's "
        "processor time to decode and look at a first stream and to answer a second time is "
        "measured in one thread): it saves bytes, and time on lines alone whose every byte is "
        "slow beside a way there and back. So it is off unless it is asked for.\n\n"
        + table(["aim", "server", *names, *limits], rows)
    )


def _plot(told: dict[Plan, list[Fields]], measured: Measured, weights: Array, path: Path) -> None:
    made, (axis,) = figure(1, 1, 5.2, 3.8)
    ones = weights[:1]
    for codec, name, label in (("full", "base", "one stream"), ("AVIF", "AVIF", "AVIF")):
        rates, scores = _curve(measured, codec, ones)
        line(axis, rates[0], 100 * scores[0], name, label)
    for name, (plan, values) in zip(("full", "adapter", "guidance"), told.items(), strict=False):
        right, size, _, _ = zip(*(_sums(values, t).means(ones) for t in THRESHOLDS), strict=True)
        label = f"asks back, first {plan.first:g}, {plan.cells} cells at {plan.quality:g}"
        accuracy = [100 * float(each[0]) for each in right]
        line(axis, [float(each[0]) for each in size], accuracy, name, label, marker="")
    log_bytes(axis)
    axis.set_xlabel("stream bytes an answer")
    axis.set_ylabel("right answers, %")
    axis.legend(fontsize=7, frameon=False)
    save(made, path)
