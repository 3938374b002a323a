"""The paper's table for one's own model: bits at equal score on sets of questions, with intervals.

photographs --training tower, export--> bundle of the model's own tower
questions about pictures --each codec between--> what the model says --metric--> score over bytes

Before it starts it says how long it will take. All of it goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.inference.decoder import device_of
from cloud_server.inference.mllm.base import Backend
from cloud_server.inference.mllm.load import load_backend
from cloud_server.inference.mllm.upstream import UpstreamOptions
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pictures import leave_out_unreadable
from evaluation.commands.models.answers import Asking
from evaluation.judges.accuracy import ORIGINAL, VIEWS, Condition
from evaluation.judges.dataset import Item, read_dataset
from evaluation.judges.equal_accuracy import MIN_SPAN
from evaluation.judges.metrics import METRICS
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from evaluation.stats.curves import Curve, bd_rate_monotone
from evaluation.stats.equal_score import Scores
from shared.bundle import MANIFEST, open_bundle
from shared.errors import UsageError
from training.loop.runner import CHECKPOINT

ROOT: Final = Path(__file__).parents[3]
TRIED_ON: Final = 4  # questions that tell how long an answer takes
Array = NDArray[Any]


@dataclass(frozen=True)
class QuestionSet:
    """Pictures with their questions, and how an answer counts: one of `METRICS`."""

    name: str
    metric: str
    items: list[Item]

    @property
    def questions(self) -> int:
        return sum(len(item.questions) for item in self.items)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mllm", required=True, help="folder or hub id of the model")
    parser.add_argument(
        "--sets",
        nargs="+",
        required=True,
        metavar="NAME[:METRIC]=FILE",
        help=f"JSON lines files of questions; metrics: {', '.join(METRICS)} (default exact)",
    )
    parser.add_argument("--pictures", type=int, help="only the first so many of each set")
    parser.add_argument("--data", type=Path, help="photographs to train the bundle on")
    parser.add_argument("--minutes", type=float, default=600.0, help="of that training")
    parser.add_argument("--base", default="tiny", help="bundle whose codec is used")
    parser.add_argument("--bundle", help="a bundle for this model's tower; then none is trained")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="for the bundle")
    parser.add_argument("--qualities", type=float, nargs="+", default=[1.0, 2.0, 3.0, 4.0, 5.0])
    parser.add_argument("--formats", nargs="*", default=["JPEG", "WebP", "AVIF"])
    parser.add_argument("--resolution", default="model", help="long side: pixels, model or native")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="questions answered, pictures a step")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plan", action="store_true", help="say how long it takes, and stop")
    parser.set_defaults(suffix="")


def main(arguments: argparse.Namespace) -> None:
    """Plan, train what is not trained, ask what was not asked, write the tables."""
    torch.set_num_threads(arguments.threads)
    sets = [read_set(word, arguments.pictures) for word in arguments.sets]
    device = device_of(arguments.device)
    print("\n".join(plan(sets, device, arguments)), file=sys.stderr)
    if arguments.plan:
        return
    bundle = open_bundle(arguments.bundle or _trained(arguments, device))
    cotam = CotamCodec(bundle, arguments.threads)
    backend = load_backend(arguments.mllm, [bundle], device, UpstreamOptions())
    if backend.view(bundle.id) != "adapter":
        raise UsageError(
            f"the bundle {bundle.manifest.name} has no adapter for the tower of {arguments.mllm}",
            hint="name photographs by --data, and one is trained",
        )
    asking = Asking(cotam, backend, Records(arguments.results / "benchmarks.jsonl"), arguments)
    parts = [command_line(arguments.words), _said(backend, bundle.hex_id)]
    for question_set in sets:
        conditions = asking.conditions(question_set.items)
        values = [
            asking.ask(item, conditions)
            for item in tqdm(question_set.items, desc=question_set.name)
        ]
        parts += set_report(question_set, scores_of(question_set, conditions, values))
        write_section(arguments.report, "benchmarks", "\n\n".join(parts))
    print(f"the tables are in {arguments.report}", file=sys.stderr)


def read_set(word: str, most: int | None) -> QuestionSet:
    """A set of `NAME[:METRIC]=FILE`. Raises UsageError for what is none."""
    head, equals, file = word.partition("=")
    name, _, metric = head.partition(":")
    metric = metric or "exact"
    if not (equals and name and file) or metric not in METRICS:
        raise UsageError(
            f"--sets has {word!r}", hint=f"NAME[:METRIC]=FILE, METRIC one of {', '.join(METRICS)}"
        )
    items, _ = leave_out_unreadable(read_dataset(Path(file), None, most), Item.read)
    if not items:
        raise UsageError(f"{file} names no picture that can be read")
    return QuestionSet(name, metric, items)


def plan(sets: list[QuestionSet], device: torch.device, arguments: argparse.Namespace) -> list[str]:
    """What will be done and how long it takes, from a few questions asked now, in lines."""
    base = open_bundle(arguments.bundle or arguments.base)
    backend = load_backend(arguments.mllm, [base], device, UpstreamOptions())
    asking = Asking(
        CotamCodec(base, arguments.threads), backend, Records(Path(os.devnull)), arguments
    )
    picture = sets[0].items[0]
    few = Item(picture.name, picture.load, picture.questions[:TRIED_ON])
    asking.ask(few, [Condition(ORIGINAL)])  # the first time loads what the others find loaded
    start = time.monotonic()
    asking.ask(few, [Condition(ORIGINAL, 1.0)])
    seconds = (time.monotonic() - start) / len(few.questions)
    steps = len(arguments.qualities)
    ways = 1 + len(VIEWS) * steps + len(arguments.formats) * (steps + 1)
    asked = {question_set.name: question_set.questions * ways for question_set in sets}
    hours = sum(asked.values()) * seconds / 3600
    trains = 0.0 if _is_trained(arguments) else arguments.minutes / 60
    listed = ", ".join(f"{count:,} of {name}" for name, count in asked.items())
    return [
        f"training: {trains:.1f} hours on {device}",
        f"answers: {listed}, over {ways} ways to send a picture, {seconds:.2f} s each: "
        f"{hours:.1f} hours",
        f"all: {trains + hours:.1f} hours on {device}, less what is done already",
    ]


def _is_trained(arguments: argparse.Namespace) -> bool:
    return bool(arguments.bundle) or (arguments.work / "bundle" / MANIFEST).exists()


def _trained(arguments: argparse.Namespace, device: torch.device) -> Path:
    """The bundle for the model's tower, trained and exported where it is not there yet."""
    work: Path = arguments.work
    bundle, run = work / "bundle", work / "run"
    if _is_trained(arguments):
        return bundle
    if arguments.data is None:
        raise UsageError("no bundle and no photographs are named", hint="--bundle or --data")
    words = ["--mllm", arguments.mllm, "--data", arguments.data, "--bundle", arguments.base]
    words += ["--minutes", arguments.minutes, "--out", run, "--batch", arguments.batch]
    words += ["--device", device.type, "--threads", arguments.threads]
    if arguments.resolution not in ("model", "native"):
        words += ["--resolution", arguments.resolution]
    _training("tower", *words, *(["--resume"] if (run / CHECKPOINT).exists() else []))
    name = ("--bundle", arguments.base, "--name", "mine", "--out", bundle)
    _training("export", "--tower", run, *name)
    return bundle


def _training(*words: object) -> None:
    """`python -m training ...`, whose own words are shown. Raises UsageError where it fails."""
    command = [sys.executable, "-m", "training", *map(str, words)]
    if subprocess.run(command, check=False).returncode:
        raise UsageError(f"`training {words[0]}` failed, see above")


def scores_of(
    question_set: QuestionSet, conditions: list[Condition], values: list[list[list[Fields]]]
) -> dict[str, Scores]:
    """Scores by codec; of each the conditions in the order of their qualities.

    values: by picture, condition and question, `said` and `bytes`.
    """
    metric = METRICS[question_set.metric]
    weights = np.array([len(item.questions) for item in question_set.items], np.float64)
    scores_by_codec: dict[str, Scores] = {}
    for codec in dict.fromkeys(condition.codec for condition in conditions):
        places = [i for i, condition in enumerate(conditions) if condition.codec == codec]
        sizes = [[picture[i][0]["bytes"] for picture in values] for i in places]
        points = [
            [
                sum(
                    metric(answer["said"], question.answers)
                    for answer, question in zip(picture[i], item.questions, strict=True)
                )
                for picture, item in zip(values, question_set.items, strict=True)
            ]
            for i in places
        ]
        scores_by_codec[codec] = Scores(
            np.array(sizes, np.float64), np.array(points, np.float64), weights
        )
    return scores_by_codec


def equal_score(anchor: Scores, test: Scores, drawn: Array) -> Array:
    """Bits of `test` at equal score against `anchor`, as shares [R]; nan where they share none."""
    rows = zip(*anchor.curves(drawn), *test.curves(drawn), strict=True)
    return np.array(
        [
            bd_rate_monotone(
                Curve.of([*zip(sizes, scores, strict=True)]),
                Curve.of([*zip(own_sizes, own_scores, strict=True)]),
                MIN_SPAN,
            )
            for sizes, scores, own_sizes, own_scores in rows
        ]
    )


def set_report(question_set: QuestionSet, scores_by_codec: dict[str, Scores]) -> list[str]:
    """A heading, the bits at equal score of the whole method, and what was measured."""
    drawn = resamples(len(question_set.items))
    sent = [codec for codec in scores_by_codec if codec != ORIGINAL]
    changes = [
        [
            VIEWS.get(codec, codec),
            with_interval(equal_score(scores_by_codec[codec], scores_by_codec["full"], drawn)),
        ]
        for codec in sent
        if codec != "full"
    ]
    rows = []
    for codec in scores_by_codec:
        sizes, scores = scores_by_codec[codec].curves(drawn[:1])
        shown = [
            f"{100 * score:.1f} at {size:.0f} B"
            for size, score in zip(sizes[0], scores[0], strict=True)
        ]
        rows.append([VIEWS.get(codec, codec), "; ".join(shown)])
    return [
        f"### {question_set.name}",
        f"{len(question_set.items)} pictures, {question_set.questions} questions, metric "
        f"`{question_set.metric}`. Bits of the whole method at equal score:",
        table(["against", "bits"], changes),
        table(["codec", "score in percent"], rows),
    ]


def _said(backend: Backend, bundle: str) -> str:
    return (
        f"`{backend.name}`, bundle {bundle}. Ranges are the middle 95 % of {RESAMPLES} resamples "
        f"of the pictures (seed {SEED}); bytes are those of whole files. *none*: the curves have "
        f"no score in common over {100 * MIN_SPAN:g} points."
    )
