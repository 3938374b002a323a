"""Accuracy over bytes, and bits at equal accuracy, from what `scenes` measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np

from evaluation import plots
from evaluation.accuracy import FAMILIES, ORIGINAL, VIEWS, Condition, Measured, collect
from evaluation.bootstrap import RESAMPLES, SEED, interval, resamples
from evaluation.classical import FORMATS
from evaluation.equal_accuracy import changes, with_interval
from evaluation.records import Records
from evaluation.report import command_line, table, write_section
from shared.bundle import open_bundle
from shared.errors import UsageError

FORMAT_NAMES: Final = tuple(form.name for form in FORMATS)
ANCHORS: Final = ("base", "guidance", "adapter", *FORMAT_NAMES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, help="only scenes 0 .. N - 1 of those measured")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)


def main(arguments: argparse.Namespace) -> None:
    """Write table and plot. Raises UsageError where nothing has been measured."""
    bundle = open_bundle(arguments.bundle)
    records = Records(arguments.results / "scenes.jsonl")
    measured = collect(records, bundle.hex_id, arguments.pictures)
    if not measured.of("guidance"):
        raise UsageError(
            f"there are no measurements of bundle {bundle.hex_id}",
            hint="run `python -m evaluation scenes` first",
        )
    draw(measured, arguments.report.parent / "img" / "rate_accuracy.png")
    body = text(measured, bundle.hex_id, arguments.words, arguments.resamples)
    write_section(arguments.report, "rate_accuracy", body)


def text(measured: Measured, bundle: str, words: tuple[str, ...], count: int) -> str:
    """Bits at equal accuracy by family, and how they were computed."""
    weights = resamples(len(measured.questions), count)
    best = measured.best_view()
    anchors = [codec for codec in ANCHORS if measured.of(codec) and codec != best]
    columns = [changes(measured, best, anchor, weights) for anchor in anchors]
    asked = measured.questions.sum(axis=0).astype(int)
    rows = [
        [family, str(asked[i]), *(with_interval(column[:, i]) for column in columns)]
        for i, family in enumerate(FAMILIES)
        if asked[i] and family != "unknown"
    ]
    head = ["family", "questions", *(f"against {VIEWS.get(a, a)}" for a in anchors)]
    return "\n\n".join(
        [
            command_line(words),
            f"From the raw numbers of `python -m evaluation scenes`: {len(measured.questions)} "
            f"pictures of 256x256, whole files, bundle {bundle}. Change of bits of *{VIEWS[best]}* "
            "at equal accuracy; below 0 is fewer bits. In brackets the middle "
            f"95 % of {count} resamples of the pictures (seed {SEED}); *none* where two curves "
            "have less than one point of accuracy in common.",
            "Measured accuracy may fall where bits are added, and levels off; Bjontegaard's "
            "polynomials need curves that rise. So each curve of accuracy over mean bytes is first "
            "replaced with the nearest one that never falls (isotonic regression), linear between "
            "its points over the logarithm of bytes. The bits at an accuracy are the fewest at "
            "which the curve reaches it, so a plateau, which has no width in accuracy, weighs "
            "nothing. The mean of the log ratio is over all accuracies that both curves reach.",
            table(head, rows),
            "![Accuracy over bytes](img/rate_accuracy.png)",
        ]
    )


def draw(measured: Measured, path: Path) -> None:
    """Overall accuracy over bytes: our views on the left, full against the formats on the right."""
    weights = resamples(len(measured.questions))
    made, axes = plots.figure(2, 1, 4.8, 3.9)
    ours = measured.best_view()
    for axis, codecs in zip(axes, (tuple(VIEWS), (ours, *FORMAT_NAMES)), strict=True):
        for codec in codecs:
            points = measured.of(codec)
            if not points:
                continue
            sizes = [float(measured.size(c, weights)[0]) for c in points]
            scores = [measured.accuracy(c, weights)[:, 0] for c in points]
            label = "ours" if codec == ours and "JPEG" in codecs else VIEWS.get(codec, codec)
            plots.line(axis, sizes, [100 * s[0] for s in scores], codec, label)
            if codec == ours or codec in FORMAT_NAMES:
                spans = np.array([interval(s) for s in scores]).T * 100
                axis.fill_between(
                    sizes, *spans, color=plots.COLOURS[codec], alpha=0.12, linewidth=0
                )
        best = 100 * float(measured.accuracy(Condition(ORIGINAL), weights)[0, 0])
        axis.axhline(best, color="#333333", linewidth=1, linestyle="--", label=ORIGINAL)
        blind = 100 * measured.blind[FAMILIES[0]]
        axis.axhline(blind, color="#999999", linewidth=1, linestyle=":", label="blind")
        axis.set(xlabel="bytes of a 256x256 picture", ylabel="accuracy, %")
        plots.log_bytes(axis)
        axis.legend(frameon=False, fontsize=8, loc="best")
    made.suptitle(
        f"Scenes, {len(measured.questions)} pictures, all questions (bands: 95 %)", fontsize=10
    )
    plots.save(made, path)
