"""What each part of the method gives: the whole against the same without one part.

What `scenes` has measured of the same pictures and qualities is not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from evaluation.codecs.cotam import CotamCodec, Received
from evaluation.judges.accuracy import Condition, Measured, collect
from evaluation.judges.conditions import Transmit, transmitter
from evaluation.judges.equal_accuracy import overall
from evaluation.judges.families import COLUMNS, OVERALL
from evaluation.judges.grading import Grader
from evaluation.judges.options import add_scene_options
from evaluation.judges.variants import Variant, split_name
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Records
from evaluation.stats.bootstrap import SEED, resamples
from scenes import Backgrounds, Scene, render
from shared import bundle as bundles
from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError
from shared.nets.adapter import LatentAdapter, save_adapter
from training.tower.runs import load_adapter_run, saw_the_picture

PICTURES: Final = 100
QUALITIES: Final = (0.0, 1.0, 2.0, 3.0, 4.0)
RESAMPLES: Final = 400
NO_PRIOR: Final = "no reconstruction prior"
PARTS: Final = {
    "full": "the whole",
    "guidance": "without adapter",
    "adapter": "without guidance",
    "base": "without both",
    NO_PRIOR: "without reconstruction prior",
}
SHOWN: Final = (OVERALL, "count", "colour", "number", "large print", "small print", "relation")
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scene_options(parser, PICTURES, QUALITIES)
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="an adapter that was trained otherwise for the same tower and codec; repeatable",
    )


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write the table. Raises UsageError."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    if not bundle.has(bundles.ADAPTER):
        raise UsageError(f"the bundle {bundle.hex_id} has no adapter", hint="export one into it")
    records = Records(arguments.results / "scenes.jsonl")
    named = [split_name(text, "--adapter NAME=RUN") for text in arguments.adapter]
    with tempfile.TemporaryDirectory() as folder:
        others = [
            adapter_variant(bundle, name, Path(run), Path(folder) / name.replace("/", "_"))
            for name, run in named
        ]
        blind = {
            other.codec
            for other, (_, run) in zip(others, named, strict=True)
            if not saw_the_picture(Path(run))
        }
        measure(bundle, others, blind, arguments.pictures, arguments.qualities, records)
    measured = collect(records, bundle.hex_id, arguments.pictures)
    parts = {**PARTS, **{other.codec: other.label for other in others}}
    write_section(arguments.report, "ablations", text(measured, parts, bundle, arguments))


def adapter_variant(bundle: Bundle, name: str, run: Path, folder: Path) -> Variant:
    """A bundle that holds nothing but the adapter of a run, for the tower of `bundle`.

    Raises UsageError where there is no such run.
    """
    try:
        adapter = load_adapter_run(run)
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no adapter run at {run}", hint="name it as --adapter NAME=RUN"
        ) from error
    made = bundle_of_adapter(bundle, adapter, folder)
    return Variant(f"adapter {name} {made.hex_id}", f"adapter: {name}", made)


def bundle_of_adapter(bundle: Bundle, adapter: LatentAdapter, folder: Path) -> Bundle:
    """A bundle, in a new folder, that holds nothing but an adapter for the tower of `bundle`."""
    folder.mkdir()
    save_adapter(adapter, folder / bundles.ADAPTER)
    files = bundles.describe_files(folder, [bundles.ADAPTER], [])
    manifest = bundle.manifest.model_copy(update={"files": files})
    (folder / bundles.MANIFEST).write_text(json.dumps(manifest.model_dump(), sort_keys=True))
    return Bundle.open(folder)


def measure(
    bundle: Bundle,
    others: Sequence[Variant],
    blind: Collection[str],
    pictures: int,
    qualities: list[float],
    records: Records,
) -> None:
    """Ask about scenes 0 .. pictures - 1 without each part, at each quality.

    blind: conditions whose adapters were trained without the decoded picture.
    """
    cotam, grader = CotamCodec(bundle), Grader(bundle, records, others)
    mean = grader.llava.processor.image_processor.image_mean
    blank = np.round(255 * np.array(mean)).astype(np.uint8)
    backgrounds = Backgrounds.builtin()
    adapters = {other.codec: other.bundle.id for other in others}
    conditions = [
        Condition(codec, float(quality)) for codec in (*PARTS, *adapters) for quality in qualities
    ]
    for index in tqdm(range(pictures), desc="ablations", unit="picture"):
        scene = render("test", index, backgrounds)
        show = _show(cotam, scene, adapters, {NO_PRIOR, *blind}, blank)
        grader.grade(index, scene, conditions, show)


def _show(
    cotam: CotamCodec,
    scene: Scene,
    adapters: Mapping[str, bytes],
    blind: Collection[str],
    blank: Array,
) -> Transmit:
    usual = transmitter(scene.picture, cotam)

    def show(condition: Condition) -> Received:
        if condition.codec not in (NO_PRIOR, *adapters):
            return usual(condition)
        size, decoded = usual(Condition("full", condition.quality))
        if condition.codec in adapters:
            decoded = replace(decoded, bundle_id=adapters[condition.codec])
        if condition.codec in blind:
            # The tower's mean colour has patch embeddings of zero: the adapter's tokens are left.
            picture = np.broadcast_to(blank, decoded.picture.shape).copy()
            decoded = replace(decoded, picture=picture)
        return size, decoded

    return show


def text(
    measured: Measured, parts: Mapping[str, str], bundle: Bundle, arguments: argparse.Namespace
) -> str:
    """Bits at equal accuracy of each part left out, and accuracies at two qualities."""
    weights = resamples(len(measured.questions), RESAMPLES)
    bits, scores = [], []
    default = min(arguments.qualities, key=lambda q: abs(q - bundle.manifest.quality))
    for codec, name in parts.items():
        bit_changes = ["", ""] if codec == "full" else overall(measured, codec, "full", weights)
        bits.append([name, *bit_changes])
        for quality in dict.fromkeys((min(arguments.qualities), default)):
            condition = Condition(codec, float(quality))
            accuracy = measured.accuracy(condition, weights[:1])[0]
            size = measured.size(condition, weights[:1])[0]
            shown = [accuracy[COLUMNS.index(family)] for family in SHOWN]
            cells = [f"{100 * share:.0f}" if np.isfinite(share) else "" for share in shown]
            scores.append([name, f"{quality:g}", f"{size:.0f}", *cells])
    qualities = ", ".join(f"{quality:g}" for quality in arguments.qualities)
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Scenes 0 to {arguments.pictures - 1} of the test split, "
            f"{int(measured.questions[:, 0].sum())} questions, qualities {qualities}, bundle "
            f"{bundle.hex_id}. Bits against the whole method at equal accuracy and at equal mean "
            "probability of the right answer: above 0, the part saves that much. In brackets the "
            f"middle 95 % of {RESAMPLES} resamples of the pictures (seed {SEED}); *none* where "
            "the curves have no accuracy in common. Without reconstruction prior the tower sees "
            "the adapter's tokens alone, in place of the decoded picture's patch embeddings, which "
            "is not what the adapter was trained with; an adapter that was trained so is asked so.",
            table(["", "bits at equal accuracy", "bits at equal probability"], bits),
            "Accuracy in percent at equal quality:",
            table(["", "quality", "bytes", *SHOWN], scores),
        ]
    )
