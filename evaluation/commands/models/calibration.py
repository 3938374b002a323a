"""Whether the confidence of a model's answers is how often they are right.

validation scenes --answers' sureness, right or wrong--> slope, offset --> confidence on test scenes

The service's own code answers. What is fitted for a bundle's language model is kept beside the
service, under the hash of its weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.calibration import FITTED, WEIGHTS, Calibration, log_odds
from cloud_server.inference.mllm.load import load_backend
from cloud_server.inference.mllm.upstream import UpstreamOptions
from evaluation.codecs.cotam import CotamCodec
from evaluation.commands.models.answers import Asking
from evaluation.judges.accuracy import ORIGINAL, Condition
from evaluation.judges.dataset import Item, is_right, scene_items
from evaluation.report.document import command_line, table, write_section
from evaluation.report.plots import figure, line, save
from evaluation.report.records import Records
from evaluation.stats.calibration import Reliability, fit_scaling, reliability
from shared.bundle import open_bundle
from shared.errors import CotamError
from shared.files import write_atomically

PLOT: Final = "calibration.png"
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mllm", default="", help="folder, hub id or http:// address; default: the bundle's own"
    )
    parser.add_argument("--validation", type=int, default=60, help="scenes to fit on")
    parser.add_argument("--pictures", type=int, default=60, help="test scenes to measure on")
    parser.add_argument("--qualities", type=float, nargs="+", default=[0.0, 3.0])
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="questions answered at once")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep", action="store_true", help="let the service use what was fitted")


def main(arguments: argparse.Namespace) -> None:
    """Ask what has not been asked yet, fit, and write section and plot."""
    torch.set_num_threads(arguments.threads)
    arguments.formats, arguments.resolution, arguments.suffix = [], "model", ""
    bundle = open_bundle(arguments.bundle)
    backend = load_backend(arguments.mllm, [bundle], torch.device("cpu"), UpstreamOptions())
    records = Records(arguments.results / "answers.jsonl")
    asking = Asking(CotamCodec(bundle, arguments.threads), backend, records, arguments)
    fitted_on = _ask(asking, scene_items(arguments.validation, "val"), arguments.qualities)
    tested_on = _ask(asking, scene_items(arguments.pictures), arguments.qualities)
    odds = np.array([log_odds(sureness) for sureness in fitted_on[0]])
    calibration = Calibration(*(round(x, 4) for x in fit_scaling(odds, fitted_on[1])))
    confidence = np.array([calibration.confidence(sureness) for sureness in tested_on[0]])
    before, after = reliability(tested_on[0], tested_on[1]), reliability(confidence, tested_on[1])
    if arguments.keep:
        known = json.loads(FITTED.read_text())
        known[bundle.manifest.files[WEIGHTS].sha256] = vars(calibration)
        write_atomically(FITTED, f"{json.dumps(known, indent=1, sort_keys=True)}\n".encode())
    _plot(before, after, arguments.report.parent / "img" / PLOT)
    rows = [
        [f"{mean:.3f}", f"{right:.3f}", f"{count:.0f}"]
        for mean, right, count in zip(after.confidence, after.right, after.count, strict=True)
    ]
    qualities = " and ".join(f"{quality:g}" for quality in arguments.qualities)
    body = [
        command_line(arguments.words),
        f"`{backend.name}` on {len(tested_on[0])} questions about {arguments.pictures} test scenes "
        f"as drawn and at qualities {qualities}. Sureness is the probability of an answer's least "
        f"likely token; confidence = logistic({calibration.slope:g} log odds of it "
        f"{calibration.offset:+g}), fitted on {len(fitted_on[0])} questions about "
        f"{arguments.validation} validation scenes. Expected calibration error, "
        f"15 bins: {before.error:.3f} of sureness, **{after.error:.3f}** of confidence. Questions "
        "that are answered rightly have the greater confidence in "
        f"{100 * _ordered(confidence, tested_on[1]):.1f} % of pairs.",
        f"![reliability](img/{PLOT})",
        table(["mean confidence", "right", "answers"], rows),
    ]
    write_section(arguments.report, "calibration", "\n\n".join(body))
    print(f"COTAM_CALIBRATION={calibration.slope:g},{calibration.offset:g}")


def _ask(asking: Asking, items: list[Item], qualities: list[float]) -> tuple[Array, Array]:
    """Sureness f64 [N] of all answers, and whether they are right, bool [N]."""
    conditions = [Condition(ORIGINAL), *(Condition("full", quality) for quality in qualities)]
    sureness, right = [], []
    for item in tqdm(items, desc="answers", unit="picture", file=sys.stderr):
        for answers in asking.ask(item, conditions):
            for question, answer in zip(item.questions, answers, strict=True):
                if answer.get("sureness") is None:
                    raise CotamError(
                        "this model tells no probabilities", hint="nor does the file of records"
                    )
                sureness.append(answer["sureness"])
                right.append(is_right(answer["said"], question.answers))
    return np.array(sureness), np.array(right)


def _ordered(confidence: Array, right: Array) -> float:
    """Share of pairs of a right and a wrong answer of which the right one is surer."""
    wrong = np.sort(confidence[~right])
    below = np.searchsorted(wrong, confidence[right], "left")
    up_to = np.searchsorted(wrong, confidence[right], "right")
    return float((below + up_to).mean() / 2 / max(1, len(wrong)))


def _plot(before: Reliability, after: Reliability, path: Path) -> None:
    made, (axis,) = figure(1, 1, 4.2, 3.6)
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for curve, name, label in ((before, "base", "sureness"), (after, "ours", "confidence")):
        line(axis, curve.confidence, curve.right, name, f"{label}, error {curve.error:.3f}")
    axis.set_xlabel("mean of the bin")
    axis.set_ylabel("share of right answers")
    axis.legend(fontsize=8, frameon=False)
    save(made, path)
