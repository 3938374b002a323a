"""Accuracy over bytes, and bits at equal accuracy, from what `scenes` measured."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluation.codecs.pillow_formats import FORMATS
from evaluation.judges.accuracy import ORIGINAL, VIEWS, Condition, Measured, collect
from evaluation.judges.equal_accuracy import changes
from evaluation.judges.families import FAMILIES, OVERALL
from evaluation.judges.variants import (
    Variant,
    add_variant_option,
    name_bundles,
    names_of,
    read_variants,
)
from evaluation.report import plots
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, interval, resamples, with_interval
from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError

FORMAT_NAMES: Final = tuple(form.name for form in FORMATS)
ANCHORS: Final = ("base", "guidance", "adapter", "full", *FORMAT_NAMES)
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, help="only scenes 0 .. N - 1 of those measured")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    add_variant_option(parser)


def main(arguments: argparse.Namespace) -> None:
    """Write table and plot. Raises UsageError where nothing has been measured."""
    bundle, variants = open_bundle(arguments.bundle), read_variants(arguments.variant)
    records = Records(arguments.results / "scenes.jsonl")
    measured = collect(records, bundle.hex_id, arguments.pictures)
    wanted = {"guidance": bundle, **{variant.codec: variant.bundle for variant in variants}}
    missing = [
        wanted_bundle.hex_id for codec, wanted_bundle in wanted.items() if not measured.of(codec)
    ]
    if missing:
        raise UsageError(
            f"there are no measurements of bundle {missing[0]}",
            hint="run `python -m evaluation scenes` first, with the same variants",
        )
    images = arguments.report.parent / "img"
    draw_formats(measured, names_of(variants), images / "rate_accuracy.png")
    draw_views(measured, names_of(variants), images / "rate_accuracy_views.png")
    body = text(measured, bundle, variants, arguments.words, arguments.resamples)
    write_section(arguments.report, "rate_accuracy", body)


def text(
    measured: Measured,
    bundle: Bundle,
    variants: Sequence[Variant],
    words: tuple[str, ...],
    count: int,
) -> str:
    """Bits at equal accuracy by family, and how they were computed."""
    weights = resamples(len(measured.questions), count)
    names = names_of(variants)
    tables = []
    for codec in (measured.best_view(), *(variant.codec for variant in variants)):
        tables += [f"**{names[codec]}**:", _changes(measured, codec, names, weights)]
    return "\n\n".join(
        [
            command_line(words),
            f"From the raw numbers of `python -m evaluation scenes`: {len(measured.questions)} "
            f"pictures of 256x256, whole files, {name_bundles(bundle, variants)}. Change of bits "
            "at equal accuracy; below 0 is fewer bits. In brackets the middle "
            f"95 % of {count} resamples of the pictures (seed {SEED}); *none* where two curves "
            "have less than one point of accuracy in common; *at chance* where the model, shown "
            "the uncompressed picture, is not surely better than blind.",
            "Measured accuracy may fall where bits are added, and levels off; Bjontegaard's "
            "polynomials need curves that rise. So each curve of accuracy over mean bytes is first "
            "replaced with the nearest one that never falls (isotonic regression), linear between "
            "its points over the logarithm of bytes. The bits at an accuracy are the fewest at "
            "which the curve reaches it, so a plateau, which has no width in accuracy, weighs "
            "nothing. The mean of the log ratio is over all accuracies that both curves reach.",
            *tables,
            "![Accuracy over bytes](img/rate_accuracy.png)",
            "![Guidance and adapter](img/rate_accuracy_views.png)",
        ]
    )


def _changes(measured: Measured, codec: str, names: Mapping[str, str], weights: Array) -> str:
    """What a codec saves against each of the others that was measured, by family."""
    anchors = [anchor for anchor in ANCHORS if measured.of(anchor) and anchor != codec]
    columns = [changes(measured, codec, anchor, weights) for anchor in anchors]
    asked = measured.questions.sum(axis=0).astype(int)
    best_score = measured.accuracy(Condition(ORIGINAL), weights)
    rows = []
    for i, family in enumerate(FAMILIES):
        if not asked[i] or family == "unknown":
            continue
        # Where the model does no better than blind, bits buy nothing and a change means nothing.
        sees = interval(best_score[:, i])[0] > measured.blind[family]
        cells = [with_interval(column[:, i]) if sees else "at chance" for column in columns]
        rows.append([family, str(asked[i]), *cells])
    against = (f"against {names.get(anchor, anchor)}" for anchor in anchors)
    return table(["family", "questions", *against], rows)


def draw_formats(measured: Measured, names: Mapping[str, str], path: Path) -> None:
    """For a stranger: right answers over bytes, ours against the formats that everyone knows."""
    weights = resamples(len(measured.questions))
    made, (axis,) = plots.figure(1, 1, 7.2, 4.2)
    view = measured.best_view()
    variants = [codec for codec in names if codec not in VIEWS]
    for codec in (view, *variants, *FORMAT_NAMES):
        points = measured.of(codec)
        if not points:
            continue
        if codec in FORMAT_NAMES:
            label = _saving(measured, view, codec)
        else:
            label = "CoTAM (95 % band)" if codec == view else f"CoTAM, {names[codec]} variant"
        sizes = [float(measured.size(c, weights)[0]) for c in points]
        scores = [measured.accuracy(c, weights)[:, 0] for c in points]
        plots.line(axis, sizes, [100 * s[0] for s in scores], codec, label)
        if codec == view:
            spans = np.array([interval(s) for s in scores]).T * 100
            axis.fill_between(sizes, *spans, color=plots.COLOURS[codec], alpha=0.12, linewidth=0)
    _bounds(axis, measured, "with the uncompressed picture", "without any picture")
    axis.set(
        xlabel="bytes sent for a picture of 256x256 (the other formats begin at their smallest)",
        ylabel="questions answered right, %",
    )
    # Over the line of who sees nothing, under the curves.
    axis.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.06))
    made.suptitle(
        "The same language model asked about the same pictures, sent in fewer and fewer bytes\n"
        f"({int(measured.questions[:, 0].sum()):,} questions about {len(measured.questions)} "
        "pictures of Scenes)",
        fontsize=10,
    )
    plots.save(made, path)


def _saving(measured: Measured, view: str, codec: str) -> str:
    """A format and what ours saves against it at equal accuracy, where that can be said."""
    change = changes(measured, view, codec, resamples(len(measured.questions), 0), [OVERALL])[0, 0]
    if not np.isfinite(change) or change >= 0:
        return codec
    return f"{codec}: CoTAM needs {-100 * change:.0f} % fewer bytes at equal accuracy"


def draw_views(measured: Measured, names: Mapping[str, str], path: Path) -> None:
    """What guidance and adapter give: overall accuracy over bytes of our views and variants."""
    weights = np.ones((1, len(measured.questions)))
    made, (axis,) = plots.figure(1, 1, 6.2, 3.9)
    for codec, name in names.items():
        points = measured.of(codec)
        if points:
            sizes = [float(measured.size(c, weights)[0]) for c in points]
            scores = [100 * measured.accuracy(c, weights)[0, 0] for c in points]
            plots.line(axis, sizes, scores, codec, name)
    _bounds(axis, measured, ORIGINAL, "blind")
    axis.set(xlabel="bytes of a 256x256 picture", ylabel="accuracy, %")
    axis.legend(frameon=False, fontsize=8, loc="best")
    plots.save(made, path)


def _bounds(axis: Any, measured: Measured, best: str, blind: str) -> None:
    """Lines for what can be reached at most, and what is reached without looking."""
    weights = np.ones((1, len(measured.questions)))
    score = 100 * float(measured.accuracy(Condition(ORIGINAL), weights)[0, 0])
    axis.axhline(score, color="#333333", linewidth=1, linestyle="--", label=best)
    score = 100 * measured.blind[OVERALL]
    axis.axhline(score, color="#999999", linewidth=1, linestyle=":", label=blind)
    plots.log_bytes(axis)
