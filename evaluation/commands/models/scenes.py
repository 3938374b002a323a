"""Accuracy by task on Scenes' test split, over quality, with and without guidance and adapter.

scene --codec--> bytes --decoder--> Decoded --(adapter)--> LLaVA --> right or wrong, question by
question
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.equal_bytes import MATCHED_ON, match_formats
from evaluation.codecs.pillow_formats import FORMATS
from evaluation.judges.accuracy import ORIGINAL, Condition, Measured, collect
from evaluation.judges.conditions import all_conditions, transmitter
from evaluation.judges.families import COLUMNS, FAMILIES, OF_A_KIND, OVERALL
from evaluation.judges.grading import Grader
from evaluation.judges.options import add_scene_options
from evaluation.judges.variants import (
    Variant,
    add_variant_option,
    name_bundles,
    names_of,
    read_variants,
)
from evaluation.report import plots
from evaluation.report.document import command_line, percent, table, write_section
from evaluation.report.records import Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, interval, resamples
from scenes import VERSION, Backgrounds, render
from shared.bundle import Bundle, open_bundle

PICTURES: Final = 200
UNCOMPRESSED: Final = 400
QUALITIES: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scene_options(parser, PICTURES, QUALITIES)
    parser.add_argument(
        "--uncompressed",
        type=int,
        default=UNCOMPRESSED,
        metavar="N",
        help="scenes 0 .. N - 1 as they were drawn, a larger sample for little time",
    )
    add_variant_option(parser)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write tables and plot. Raises UsageError."""
    torch.set_num_threads(arguments.threads)
    records = Records(arguments.results / "scenes.jsonl")
    bundle, variants = open_bundle(arguments.bundle), read_variants(arguments.variant)
    backgrounds = Backgrounds.builtin()
    pictures, most = arguments.pictures, max(arguments.pictures, arguments.uncompressed)
    measure(bundle, backgrounds, pictures, arguments.qualities, records, variants, most)
    measured, drawn = (collect(records, bundle.hex_id, count) for count in (pictures, most))
    draw(measured, names_of(variants), arguments.report.parent / "img" / "scenes.png")
    body = text(measured, drawn, variants, bundle, len(backgrounds), arguments)
    write_section(arguments.report, "scenes", body)


def measure(
    bundle: Bundle,
    backgrounds: Backgrounds,
    pictures: int,
    qualities: list[float],
    records: Records,
    variants: Sequence[Variant] = (),
    uncompressed: int = 0,
) -> None:
    """Answer all questions of scenes 0 .. pictures - 1 under all conditions not yet recorded.

    uncompressed: of how many scenes the picture as it was drawn is asked about, if of more.
    """
    cotam, grader = CotamCodec(bundle), Grader(bundle, records, variants)
    first = [render("test", i, backgrounds).picture for i in range(min(pictures, MATCHED_ON))]
    matched = match_formats(cotam, first, qualities, FORMATS, records)
    adapts = grader.llava.backend.view(bundle.id) == "adapter"
    others = {variant.codec: CotamCodec(variant.bundle) for variant in variants}
    conditions = all_conditions(adapts, qualities, matched, others)
    for index in tqdm(range(max(pictures, uncompressed)), desc="scenes", unit="picture"):
        scene = render("test", index, backgrounds)
        show = transmitter(scene.picture, cotam, others)
        grader.grade(index, scene, conditions if index < pictures else (), show)


def text(
    measured: Measured,
    drawn: Measured,
    variants: Sequence[Variant],
    bundle: Bundle,
    photographs: int,
    arguments: argparse.Namespace,
) -> str:
    """What was measured, scores by task, and all conditions.

    drawn: the uncompressed pictures, of as many scenes or more.
    """
    names = names_of(variants)
    weights = resamples(len(measured.questions))
    asked = dict(zip(COLUMNS, measured.questions.sum(axis=0).astype(int), strict=True))
    shown = {ORIGINAL: Condition(ORIGINAL)}
    for codec in (measured.best_view(), *(variant.codec for variant in variants)):
        near = _nearest(measured.of(codec), bundle.manifest.quality)
        shown[f"{names[codec]}, quality {near.quality:g}"] = near
    rows = []
    for codec in (ORIGINAL, *names, *(form.name for form in FORMATS)):
        for condition in measured.of(codec):
            accuracies = measured.accuracy(condition, weights)[:, : len(FAMILIES)]
            quality = "" if codec == ORIGINAL else f"{condition.quality:g}"
            size = measured.size(condition, weights)[0]
            cells = [f"{100 * v:.0f}" if np.isfinite(v) else "" for v in accuracies[0, 1:]]
            name = names.get(codec, codec)
            rows.append([name, quality, f"{size:.0f}", _with_interval(accuracies[:, 0]), *cells])
    parts = [
        command_line(arguments.words),
        f"Scenes version {VERSION}, test split, scenes 0 to {arguments.pictures - 1} at "
        f"256x256, drawn on {photographs} photographs of scikit-image and on procedural "
        f"textures, none of them trained on; {asked[OVERALL] + asked['unknown']} questions; "
        f"{name_bundles(bundle, variants)}. Bytes are those of whole files. Ranges are the middle "
        f"95 % of {RESAMPLES} resamples of the pictures (seed {SEED}).",
        "All questions of a picture are graded in one pass, each token of an answer by argmax "
        "given the right tokens before it. This is right in exactly the cases in which greedy "
        "decoding writes the right answer and ends (a test compares the two). *Blind* gives, "
        "without the picture, the most frequent answer of the task in training; where the "
        "question names the two that are possible, the more frequent one. *Small print* is "
        "under 18 pixels high. *Overall* leaves out *unknown*, the questions that no picture "
        f"answers. *{OF_A_KIND.capitalize()}* leaves out of *count* what asks for one colour "
        '("how many red cars") and what is answered with 0 or more than 4.',
        _tasks(measured, shown),
    ]
    if len(drawn.questions) > len(measured.questions):
        parts += [
            f"The uncompressed picture alone, of scenes 0 to {arguments.uncompressed - 1}:",
            _tasks(drawn, {ORIGINAL: Condition(ORIGINAL)}),
        ]
    parts += [
        "Accuracy in percent. JPEG, WebP and AVIF have one quality for all pictures, chosen so "
        "that mean sizes come nearest to those of ours with guidance, and to twice the "
        "largest; the smallest of their files may be larger than several of ours.",
        table(["codec", "quality", "bytes", *FAMILIES], rows),
        "![Accuracy over bytes by task](img/scenes.png)",
    ]
    return "\n\n".join(parts)


def _tasks(measured: Measured, shown: Mapping[str, Condition]) -> str:
    """Questions, the score of guessing, and that of each condition, by task."""
    weights = resamples(len(measured.questions))
    asked = measured.questions.sum(axis=0).astype(int)
    scores = [measured.accuracy(condition, weights) for condition in shown.values()]
    names = [*FAMILIES]
    names.insert(names.index("count") + 1, OF_A_KIND)
    rows = [
        [name, str(asked[i]), percent(measured.blind[name])]
        + [_with_interval(score[:, i]) for score in scores]
        for name in names
        if asked[i := COLUMNS.index(name)]
    ]
    return table(["task", "questions", "blind", *shown], rows)


def _nearest(conditions: Sequence[Condition], quality: float) -> Condition:
    return min(conditions, key=lambda condition: abs(condition.quality - quality))


def _with_interval(values: NDArray[Any]) -> str:
    low, high = interval(values)
    return f"{100 * values[0]:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def draw(measured: Measured, names: Mapping[str, str], path: Path) -> None:
    """Accuracy over bytes of our views and the variants, one small plot a family."""
    weights = np.ones((1, len(measured.questions)))
    families = [i for i in range(len(FAMILIES)) if measured.questions[:, i].sum()]
    rows = -(-len(families) // 4)
    made, axes = plots.figure(4, rows, 2.9, 2.4)
    for axis, i in zip(axes, families, strict=False):
        for codec, name in names.items():
            points = measured.of(codec)
            if not points:
                continue
            x = [measured.size(c, weights)[0] for c in points]
            y = [100 * measured.accuracy(c, weights)[0, i] for c in points]
            plots.line(axis, x, y, codec, name, linewidth=1.5, markersize=3.5)
        best = 100 * measured.accuracy(Condition(ORIGINAL), weights)[0, i]
        axis.axhline(best, color="#333333", linewidth=1, linestyle="--", label=ORIGINAL)
        blind = 100 * measured.blind[FAMILIES[i]]
        axis.axhline(blind, color="#999999", linewidth=1, linestyle=":", label="blind")
        plots.log_bytes(axis, (300, 1000, 3000))
        axis.set_title(FAMILIES[i], fontsize=9)
    for axis in axes[len(families) :]:
        axis.set_axis_off()
    made.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=7,
        frameon=False,
        fontsize=8,
    )
    made.supxlabel("bytes of a 256x256 picture", fontsize=9)
    made.supylabel("accuracy, %", fontsize=9)
    plots.save(made, path)
