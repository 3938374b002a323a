"""What each part of the method gives: the whole against the same without one part.

What `scenes` has measured of the same pictures and qualities is not measured again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from evaluation.accuracy import FAMILIES, OVERALL, Condition, Measured, collect
from evaluation.bootstrap import SEED, resamples
from evaluation.equal_accuracy import changes, with_interval
from evaluation.grading import Grader, Shown
from evaluation.ours import Ours, without_adapter
from evaluation.records import Records
from evaluation.report import command_line, table, write_section
from scenes import Backgrounds, Scene, render
from shared import bundle as bundles
from shared.bundle import Bundle, open_bundle
from shared.errors import UsageError
from shared.nets.adapter import save_adapter
from training.adapter import load_adapter_run

PICTURES: Final = 100
QUALITIES: Final = (0.0, 1.0, 2.0, 3.0, 4.5)
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
    parser.add_argument("--pictures", type=int, default=PICTURES, help="scenes of the test split")
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="an adapter that was trained otherwise for the same tower and codec; repeatable",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write the table. Raises UsageError."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    if bundle.manifest.adapter is None:
        raise UsageError(f"the bundle {bundle.hex_id} has no adapter", hint="export one into it")
    records = Records(arguments.results / "scenes.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        others = {
            name: adapter_bundle(bundle, Path(run), Path(folder) / name.replace("/", "_"))
            for name, _, run in (text.partition("=") for text in arguments.adapter)
        }
        measure(bundle, others, arguments.pictures, arguments.qualities, records)
    measured = collect(records, bundle.hex_id, arguments.pictures)
    body = text(measured, {**PARTS, **_names(others)}, bundle, arguments)
    write_section(arguments.report, "ablations", body)


def adapter_bundle(bundle: Bundle, run: Path, folder: Path) -> Bundle:
    """A bundle that holds nothing but the adapter of a run, for the tower of `bundle`.

    Raises UsageError where there is no such run.
    """
    folder.mkdir()
    try:
        adapter = load_adapter_run(run)
    except (FileNotFoundError, KeyError) as error:
        raise UsageError(
            f"there is no adapter run at {run}", hint="name it as --adapter NAME=RUN"
        ) from error
    save_adapter(adapter, folder / bundles.ADAPTER)
    files = bundles.describe_files(folder, [bundles.ADAPTER], [])
    manifest = bundle.manifest.model_copy(update={"files": files})
    (folder / bundles.MANIFEST).write_text(json.dumps(manifest.model_dump(), sort_keys=True))
    return Bundle.open(folder)


def measure(
    bundle: Bundle,
    others: Mapping[str, Bundle],
    pictures: int,
    qualities: list[float],
    records: Records,
) -> None:
    """Ask about scenes 0 .. pictures - 1 without each part, at each quality."""
    ours, grader = Ours(bundle), Grader(bundle, records, list(others.values()))
    mean = grader.llava.processor.image_processor.image_mean
    blank = np.round(255 * np.array(mean)).astype(np.uint8)
    backgrounds = Backgrounds.builtin()
    for index in tqdm(range(pictures), desc="ablations", unit="picture"):
        scene = render("test", index, backgrounds)
        grader.grade(index, scene, _shown(ours, scene, qualities, blank, others))


def _shown(
    ours: Ours,
    scene: Scene,
    qualities: list[float],
    blank: Array,
    others: Mapping[str, Bundle],
) -> dict[Condition, Callable[[], Shown]]:
    analysed = functools.cache(lambda: ours.analyse(scene.picture, True))

    @functools.cache
    def coded(guided: bool, quality: float) -> Shown:
        found = analysed() if guided else replace(analysed(), level_map=None)
        stream = ours.encode(found, quality)
        return len(stream), ours.decode(stream)

    def show(codec: str, quality: float) -> Shown:
        size, decoded = coded(codec not in ("base", "adapter"), quality)
        if codec in ("base", "guidance"):
            decoded = without_adapter(decoded)
        elif codec == NO_PRIOR:
            # The tower's mean colour has patch embeddings of zero: the adapter's tokens are left.
            decoded = replace(decoded, picture=np.broadcast_to(blank, decoded.picture.shape).copy())
        elif codec not in PARTS:
            decoded = replace(decoded, bundle_id=adapters[codec])
        return size, decoded

    adapters = {_codec(name, other): other.id for name, other in others.items()}
    return {
        Condition(codec, float(quality)): functools.partial(show, codec, quality)
        for codec in (*PARTS, *adapters)
        for quality in qualities
    }


def _codec(name: str, other: Bundle) -> str:
    """The name under which an adapter is written down: another run of that name is another."""
    return f"adapter {name} {other.hex_id}"


def _names(others: Mapping[str, Bundle]) -> dict[str, str]:
    return {_codec(name, other): f"adapter: {name}" for name, other in others.items()}


def text(
    measured: Measured, parts: Mapping[str, str], bundle: Bundle, arguments: argparse.Namespace
) -> str:
    """Bits at equal accuracy of each part left out, and accuracies at two qualities."""
    weights = resamples(len(measured.questions), RESAMPLES)
    bits, scores = [], []
    default = min(arguments.qualities, key=lambda q: abs(q - bundle.manifest.quality))
    for codec, name in parts.items():
        found = ["", ""]
        if codec != "full":
            found = [
                with_interval(changes(measured, codec, "full", weights, [OVERALL], p)[:, 0])
                for p in (False, True)
            ]
        bits.append([name, *found])
        for quality in dict.fromkeys((min(arguments.qualities), default)):
            condition = Condition(codec, float(quality))
            accuracy = measured.accuracy(condition, weights[:1])[0]
            size = measured.size(condition, weights[:1])[0]
            shown = [accuracy[FAMILIES.index(family)] for family in SHOWN]
            cells = [f"{100 * one:.0f}" if np.isfinite(one) else "" for one in shown]
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
            "is not what the adapter was trained with.",
            table(["", "bits at equal accuracy", "bits at equal probability"], bits),
            "Accuracy in percent at equal quality:",
            table(["", "quality", "bytes", *SHOWN], scores),
        ]
    )
