"""Bytes an answer where the model asks back, against one stream that answers as well.

validation scenes --> which plan and which confidence reach an accuracy in the fewest bytes
test scenes -------> what these take, beside one stream and AVIF at the accuracy that they reach
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.calibration import calibration_of
from cloud_server.settings import load_settings
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.equal_bytes import MATCHED_ON, match_formats
from evaluation.codecs.pillow_formats import FORMATS
from evaluation.judges.accuracy import Condition, Measured, collect
from evaluation.judges.asking import (
    THRESHOLDS,
    Asker,
    Plan,
    choose,
    framing,
    framing_of_enhancement,
    sums_of,
)
from evaluation.judges.conditions import transmitter
from evaluation.judges.families import COLUMNS, FAMILIES, OVERALL
from evaluation.judges.grading import Grader
from evaluation.report.document import command_line, table, write_section
from evaluation.report.plots import figure, line, log_bytes, save
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from evaluation.stats.curves import Curve, rate_at
from scenes import VERSION, WORLDS, Backgrounds, Split, render
from shared.bundle import Bundle, open_bundle

AIMS: Final = (0.93, 0.94, 0.95)
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=200, help="test scenes")
    parser.add_argument("--validation", type=int, default=40, help="scenes to choose on")
    parser.add_argument("--world", type=int, choices=tuple(WORLDS), default=VERSION)
    parser.add_argument("--aims", type=float, nargs="+", default=list(AIMS), help="accuracies")
    parser.add_argument("--first", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--cells", type=int, nargs="+", default=[16])
    parser.add_argument("--quality", type=float, nargs="+", default=[5.0], help="of the cells")
    parser.add_argument(
        "--qualities", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0, 3.0, 4.0]
    )
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


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
    asker = Asker(bundle, records, arguments.world)
    looked_at = ask_all(asker, "val", arguments, plans)
    chosen = {aim: choose(looked_at, aim) for aim in arguments.aims}
    outcomes = ask_all(asker, "test", arguments, sorted({plan for plan, _ in chosen.values()}))
    measured = one_stream(bundle, records, arguments)
    body = _text(chosen, outcomes, measured, bundle, arguments)
    write_section(arguments.report, _name(arguments), body)


def _name(arguments: argparse.Namespace) -> str:
    """Of the section and its plot: a world that is not the usual one has its own."""
    return "ask-back" if arguments.world == VERSION else f"ask-back-{arguments.world}"


def ask_all(
    asker: Asker, split: Split, arguments: argparse.Namespace, plans: list[Plan]
) -> dict[Plan, list[Fields]]:
    """What came of the questions about each scene of a split under each plan."""
    backgrounds = Backgrounds.builtin()
    count = arguments.validation if split == "val" else arguments.pictures
    outcomes: dict[Plan, list[Fields]] = {plan: [] for plan in plans}
    for index in tqdm(range(count), desc=f"asking, {split}", unit="picture", file=sys.stderr):
        scene = render(split, index, backgrounds, version=arguments.world)
        if scene.questions:
            for plan in plans:
                outcomes[plan].append(asker.ask(split, index, scene, plan))
    return outcomes


def one_stream(bundle: Bundle, records: Records, arguments: argparse.Namespace) -> Measured:
    """One stream of each quality, and AVIF, by the grades of the packed questions."""
    backgrounds, cotam, world = Backgrounds.builtin(), CotamCodec(bundle), arguments.world
    grader = Grader(bundle, records, world=world)
    first = [render("test", i, backgrounds, version=world).picture for i in range(MATCHED_ON)]
    avif = [form for form in FORMATS if form.name == "AVIF"]
    matched = match_formats(cotam, first, arguments.qualities[-1:], avif, records)
    conditions = [Condition("full", quality) for quality in arguments.qualities]
    conditions += [Condition("AVIF", float(quality)) for quality in matched["AVIF"]]
    for index in tqdm(range(arguments.pictures), desc="one stream", unit="picture"):
        scene = render("test", index, backgrounds, version=world)
        grader.grade(index, scene, conditions, transmitter(scene.picture, cotam))
    return collect(records, bundle.hex_id, arguments.pictures, world)


def _text(
    chosen: dict[float, tuple[Plan, float]],
    outcomes: dict[Plan, list[Fields]],
    measured: Measured,
    bundle: Bundle,
    arguments: argparse.Namespace,
) -> str:
    weights = resamples(len(next(iter(outcomes.values()))))
    calibration = calibration_of(load_settings(), [bundle])
    rows, points = [], []
    for aim, (plan, threshold) in chosen.items():
        right, size, travel, second = sums_of(outcomes[plan], threshold).means(weights)
        cotam_bytes, avif_bytes = (
            _equal(measured, codec, weights, right) for codec in ("full", "AVIF")
        )
        prompts = np.array([np.mean(value["prompts"]) for value in outcomes[plan]])
        around = framing(False) + weights @ prompts / weights.sum(1)
        points.append((float(size[0]), plan, threshold))
        rows.append(
            [
                f"{aim:g}",
                f"{plan.first:g}, {plan.cells} at {plan.quality:g}",
                f"{calibration.confidence(threshold):.2f}" if threshold else "never",
                f"{right[0]:.4f}",
                f"{1 + second[0]:.2f}",
                f"{size[0]:.0f}",
                f"{cotam_bytes[0]:.0f}",
                with_interval(size / cotam_bytes - 1),
                with_interval(travel / (cotam_bytes + around) - 1),
                "-" if not np.isfinite(avif_bytes[0]) else f"{avif_bytes[0]:.0f}",
            ]
        )
    plot = f"{_name(arguments).replace('-', '_')}.png"
    _plot(outcomes, measured, weights, arguments.report.parent / "img" / plot)
    head = ["aim", "plan", "asks below", "right", "requests", "bytes", "one stream"]
    head += ["change", "as they travel", "AVIF"]
    questions = int(measured.questions[:, COLUMNS.index(OVERALL)].sum())
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{arguments.pictures} test scenes of version {arguments.world}, {questions} "
            f"questions, bundle {bundle.hex_id}. A plan is the quality of the first stream, and "
            "how many cells of 16 pixels are asked for at which quality; plan and confidence were "
            f"chosen on {arguments.validation} validation scenes, to reach the accuracy that is "
            "aimed at in the fewest bytes that travel. Bytes are those of streams and "
            "enhancements, a mean over answers; one stream's and AVIF's curves are read at the "
            "accuracy that was reached. As they travel: with the question, "
            f"and {framing(False)} bytes of headers, {framing(True)} of a request that may be "
            f"asked back, {framing_of_enhancement()} of an enhancement's. Ranges: the middle "
            f"95 % of {RESAMPLES} resamples of the scenes (seed {SEED}), both sides drawn alike.",
            table(head, rows),
            f"![bytes and accuracy](img/{plot})",
            _by_task(outcomes, measured, points[len(points) // 2]),
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
    outcomes: dict[Plan, list[Fields]],
    measured: Measured,
    point: tuple[float, Plan, float],
) -> str:
    size, plan, threshold = point
    ones = np.ones((1, len(measured.questions)))
    rates, _ = _curve(measured, "full", ones)
    conditions = sorted(measured.of("full"), key=lambda c: float(measured.sizes[c].sum()))
    near = conditions[int(np.abs(np.log(rates[0] / size)).argmin())]
    avif = min(measured.of("AVIF"), key=lambda c: float(measured.sizes[c].sum()))
    rows = []
    for column in FAMILIES:
        before, after = (sums_of(outcomes[plan], t, column) for t in (0.0, threshold))
        if not after.asked.sum():
            continue
        first, again = before.means(ones), after.means(ones)
        beside = (measured.accuracy(c, ones)[0, COLUMNS.index(column)] for c in (near, avif))
        row = [f"{after.asked.sum():.0f}", *(f"{100 * x[0][0]:.1f}" for x in (first, again))]
        rows.append(
            [column, *row, f"{100 * again[3][0]:.0f} %", f"{again[1][0]:.0f}"]
            + [f"{100 * accuracy:.1f}" for accuracy in beside]
        )
    head = ["task", "questions", "right at first", "right", "asked back", "bytes"]
    return (
        "By task, in percent, of the plan for the middle aim; beside it one stream of quality "
        f"{near.quality:g}, {measured.size(near, ones)[0]:.0f} bytes, and AVIF's smallest, "
        f"{measured.size(avif, ones)[0]:.0f} bytes.\n\n"
        + table([*head, "one stream", "AVIF"], rows)
    )


def _plot(
    outcomes: dict[Plan, list[Fields]], measured: Measured, weights: Array, path: Path
) -> None:
    made, (axis,) = figure(1, 1, 5.2, 3.8)
    ones = weights[:1]
    for codec, name, label in (("full", "base", "one stream"), ("AVIF", "AVIF", "AVIF")):
        rates, scores = _curve(measured, codec, ones)
        line(axis, rates[0], 100 * scores[0], name, label)
    for name, (plan, values) in zip(
        ("full", "adapter", "guidance"), outcomes.items(), strict=False
    ):
        right, size, _, _ = zip(*(sums_of(values, t).means(ones) for t in THRESHOLDS), strict=True)
        label = f"asks back, first {plan.first:g}, {plan.cells} cells at {plan.quality:g}"
        accuracy = [100 * float(each[0]) for each in right]
        line(axis, [float(each[0]) for each in size], accuracy, name, label, marker="")
    log_bytes(axis)
    axis.set_xlabel("stream bytes an answer")
    axis.set_ylabel("right answers, %")
    axis.legend(fontsize=7, frameon=False)
    save(made, path)
