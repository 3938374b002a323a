"""Accuracy by task on Scenes' test split, over quality, with and without guidance and adapter.

scene --codec--> bytes --decoder--> Decoded --(adapter)--> LLaVA --> right or wrong, question by
question
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from evaluation import plots
from evaluation.accuracy import (
    FAMILIES,
    ORIGINAL,
    VIEWS,
    Condition,
    Measured,
    collect,
)
from evaluation.bootstrap import RESAMPLES, SEED, interval, resamples
from evaluation.classical import FORMATS, decode
from evaluation.grading import Grader, Shown
from evaluation.matching import match_formats
from evaluation.ours import Ours, bare, without_adapter
from evaluation.records import Records
from evaluation.report import command_line, table, write_section
from scenes import VERSION, Backgrounds, Scene, render
from shared.bundle import Bundle, open_bundle

QUALITIES: Final = (0.0, 1.0, 2.0, 3.0, 4.5, 6.0)
MATCHED_ON: Final = 6  # pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=200, help="scenes 0 .. N - 1 of the split")
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write tables and plot."""
    torch.set_num_threads(arguments.threads)
    records = Records(arguments.results / "scenes.jsonl")
    bundle = open_bundle(arguments.bundle)
    backgrounds = Backgrounds.builtin()
    measure(bundle, backgrounds, arguments.pictures, arguments.qualities, records)
    measured = collect(records, bundle.hex_id, arguments.pictures)
    draw(measured, arguments.report.parent / "img" / "scenes.png")
    write_section(arguments.report, "scenes", text(measured, bundle, len(backgrounds), arguments))


def measure(
    bundle: Bundle,
    backgrounds: Backgrounds,
    pictures: int,
    qualities: list[float],
    records: Records,
) -> None:
    """Answer all questions of scenes 0 .. pictures - 1 under all conditions not yet recorded."""
    ours, grader = Ours(bundle), Grader(bundle, records)
    settings = matched_settings(ours, backgrounds, min(pictures, MATCHED_ON), qualities, records)
    # Without an adapter for its tower the bundle's views come to two.
    adapts = grader.llava.backend.view(bundle.id) == "adapter"
    views = [view for view in VIEWS if adapts or view in ("base", "guidance")]
    conditions = [
        *(Condition(view, float(quality)) for view in views for quality in qualities),
        *(Condition(form.name, float(s)) for form in FORMATS for s in settings[form.name]),
    ]
    for index in tqdm(range(pictures), desc="scenes", unit="picture"):
        scene = render("test", index, backgrounds)
        grader.grade(index, scene, _shown(ours, scene, conditions))


def matched_settings(
    ours: Ours, backgrounds: Backgrounds, pictures: int, qualities: list[float], records: Records
) -> dict[str, list[int]]:
    """The qualities of each format; means are over the first pictures alone, to save time."""

    def find() -> dict[str, list[int]]:
        scenes = [render("test", index, backgrounds).picture for index in range(pictures)]
        return match_formats(ours, scenes, qualities, FORMATS)

    key = {
        "matched": [form.describe() for form in FORMATS],
        "bundle": ours.bundle.hex_id,
        "qualities": sorted(qualities),
        "pictures": pictures,
        "backgrounds": len(backgrounds),
        "version": VERSION,
    }
    return records.measure(key, find)


def _shown(
    ours: Ours, scene: Scene, conditions: list[Condition]
) -> dict[Condition, Callable[[], Shown]]:
    """What the model gets of a scene under each condition, made when it is called."""
    analysed = functools.cache(lambda: ours.analyse(scene.picture, True))

    @functools.cache
    def coded(guided: bool, quality: float) -> Shown:
        found = analysed() if guided else replace(analysed(), level_map=None)
        stream = ours.encode(found, quality)
        return len(stream), ours.decode(stream)

    def show(condition: Condition) -> Shown:
        if condition.ours:
            size, decoded = coded(condition.codec in ("guidance", "full"), condition.quality)
            adapted = condition.codec in ("adapter", "full")
            return size, decoded if adapted else without_adapter(decoded)
        form = next(f for f in FORMATS if f.name == condition.codec)
        file = form.encode(scene.picture, int(condition.quality))
        return len(file), bare(decode(file))

    return {condition: functools.partial(show, condition) for condition in conditions}


def text(
    measured: Measured, bundle: Bundle, photographs: int, arguments: argparse.Namespace
) -> str:
    """What was measured, scores by task, and all conditions."""
    weights = resamples(len(measured.questions))
    asked = measured.questions.sum(axis=0).astype(int)
    shown = [c for c in (Condition(ORIGINAL), _default(measured, bundle)) if c in measured.right]
    head = ["task", "questions", "blind", *(_label(c) for c in shown)]
    scores = [measured.accuracy(c, weights) for c in shown]
    tasks = [
        [family, str(asked[i]), f"{100 * measured.blind[family]:.1f} %"]
        + [_with_interval(score[:, i]) for score in scores]
        for i, family in enumerate(FAMILIES)
        if asked[i]
    ]
    rows = []
    for codec in (ORIGINAL, *VIEWS, *(form.name for form in FORMATS)):
        for condition in measured.of(codec):
            found = measured.accuracy(condition, weights)
            quality = "" if codec == ORIGINAL else f"{condition.quality:g}"
            size = measured.size(condition, weights)[0]
            cells = [f"{100 * v:.0f}" if np.isfinite(v) else "" for v in found[0, 1:]]
            name = VIEWS.get(codec, codec)
            rows.append([name, quality, f"{size:.0f}", _with_interval(found[:, 0]), *cells])
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Scenes version {VERSION}, test split, scenes 0 to {arguments.pictures - 1} at "
            f"256x256, drawn on {photographs} photographs of scikit-image and on procedural "
            f"textures, none of them trained on; {asked[0] + asked[-1]} questions; bundle "
            f"{bundle.hex_id}. Bytes are those of whole files. Ranges are the middle 95 % of "
            f"{RESAMPLES} resamples of the pictures (seed {SEED}).",
            "All questions of a picture are graded in one pass, each token of an answer by argmax "
            "given the right tokens before it. This is right in exactly the cases in which greedy "
            "decoding writes the right answer and ends (a test compares the two). *Blind* gives, "
            "without the picture, the most frequent answer of the family in training; where the "
            "question names the two that are possible, the more frequent one. *Small print* is "
            "under 18 pixels high. *Overall* leaves out *unknown*, the questions that no picture "
            "answers.",
            table(head, tasks),
            "Accuracy in percent. JPEG, WebP and AVIF have one quality for all pictures, chosen so "
            "that mean sizes come nearest to those of ours with guidance, and to twice the "
            "largest; the smallest of their files may be larger than several of ours.",
            table(["codec", "quality", "bytes", *FAMILIES], rows),
            "![Accuracy over bytes by task](img/scenes.png)",
        ]
    )


def _default(measured: Measured, bundle: Bundle) -> Condition:
    """The whole method at the quality nearest to the bundle's default."""
    return min(
        measured.of(measured.best_view()), key=lambda c: abs(c.quality - bundle.manifest.quality)
    )


def _label(condition: Condition) -> str:
    if condition.codec == ORIGINAL:
        return ORIGINAL
    return f"{VIEWS.get(condition.codec, condition.codec)}, quality {condition.quality:g}"


def _with_interval(values: np.ndarray) -> str:
    low, high = interval(values)
    return f"{100 * values[0]:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def draw(measured: Measured, path: Any) -> None:
    """Accuracy over bytes of the four views, one small plot a family."""
    weights = np.ones((1, len(measured.questions)))
    families = [i for i in range(len(FAMILIES)) if measured.questions[:, i].sum()]
    rows = -(-len(families) // 4)
    made, axes = plots.figure(4, rows, 2.9, 2.4)
    for axis, i in zip(axes, families, strict=False):
        for view in VIEWS:
            points = measured.of(view)
            if not points:
                continue
            x = [measured.size(c, weights)[0] for c in points]
            y = [100 * measured.accuracy(c, weights)[0, i] for c in points]
            plots.line(axis, x, y, view, VIEWS[view], linewidth=1.5, markersize=3.5)
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
        ncols=6,
        frameon=False,
        fontsize=8,
    )
    made.supxlabel("bytes of a 256x256 picture", fontsize=9)
    made.supylabel("accuracy, %", fontsize=9)
    plots.save(made, path)
