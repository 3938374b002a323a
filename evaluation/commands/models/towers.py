"""The whole road of a bundle for a foreign tower, from random weights to an answer, and its cost.

random model --training tower--> run --training export--> bundle --cloud_server--> served
photograph --edge, "auto"--> stream at the resolution that the server names --> view: adapter

It tells sizes and times of towers of their true shapes, not what an adapter is worth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from edge_client import EdgeClient
from evaluation.machine import tower_step
from evaluation.machine.server_process import ROOT, ServerProcess
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.towers.random_models import CLASSES, SMALL, TRUE, write_model
from shared.bundle import ADAPTER, GUIDANCE, MLLM, Bundle, embedded
from shared.errors import UsageError
from shared.libraries import PICTURE_FORMATS, import_onnxruntime
from shared.tower import TowerSpec
from training.tower.trainer import VALIDATION_CODES

EXAMPLES: Final = ROOT / "examples"
PICTURE: Final = (800, 600)
LONG_SIDE: Final = 384  # at which all of them can be run in 9 GB
QUESTION: Final = "how many cars?"
TOKENS: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--small", action="store_true", help="small towers, to try it")
    parser.add_argument("--minutes", type=float, default=0.2, help="of training, each")
    parser.add_argument("--data", type=Path, help="folder of photographs to train on")
    parser.add_argument("--batch", type=int, default=1, help="pictures a step")
    parser.add_argument("--resolution", type=int, help=f"long side; default {LONG_SIDE}")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="to train on")


def main(arguments: argparse.Namespace) -> None:
    """Run what has not been run yet, then write the table. Raises UsageError where a step fails."""
    records = Records(arguments.results / "towers.jsonl")
    rows = []
    for kind in arguments.classes:
        settings = {name: getattr(arguments, name) for name in ("small", "minutes", "batch")}
        key = {"kind": kind, "resolution": _resolution(arguments), **settings}
        if arguments.device != "cpu":
            key["device"] = arguments.device
        with tempfile.TemporaryDirectory(prefix=f"tower-{kind}-") as folder:
            place = Path(folder)
            measured = records.measure(key, _measure, key, place, records, arguments)
            rows.append(_row(kind, measured, arguments))
        body = "\n\n".join([command_line(arguments.words), _text(arguments), table(HEAD, rows)])
        write_section(arguments.report, "towers_small" if arguments.small else "towers", body)
    print(f"the table is in {arguments.report}", file=sys.stderr)


def _resolution(arguments: argparse.Namespace) -> int:
    chosen: int | None = arguments.resolution
    return chosen or (96 if arguments.small else LONG_SIDE)


def _measure(key: Fields, folder: Path, records: Records, arguments: argparse.Namespace) -> Fields:
    """All that is known of a class, made in an empty folder; a step's cost is kept at once."""
    kind, resolution = key["kind"], key["resolution"]
    shapes = SMALL if arguments.small else TRUE
    model = write_model(kind, embedded().path(MLLM), folder / "model", shapes)
    photographs = _photographs(folder / "photographs")
    of_a_step = {"step_of": kind, "small": arguments.small, "resolution": resolution}
    cost = records.measure(of_a_step, _step, model, photographs[0], resolution)
    run, made = folder / "run", folder / "made"
    data = ("--data", arguments.data or photographs[0].parent, "--resolution", resolution)
    how = ("--minutes", arguments.minutes, "--batch", arguments.batch, "--threads", 1)
    what = ("--mllm", model, "--bundle", "tiny", "--device", arguments.device, "--out", run)
    _training("tower", *what, *data, *how)
    _training("export", "--tower", run, "--bundle", "tiny", "--name", kind, "--out", made)
    curve = json.loads((run / "curve.jsonl").read_text().splitlines()[-1])
    bundle = Bundle.open(made)
    sizes = {name: bundle.path(name).stat().st_size / 1e6 for name in (GUIDANCE, ADAPTER)}
    with (
        ServerProcess(bundle=made, mllm=model, threads=1, device="cpu") as server,
        EdgeClient(server.url, threads=1) as edge,
    ):
        answers = [edge.ask(photo, QUESTION, max_new_tokens=TOKENS) for photo in photographs[:2]]
    if {(answer.view, answer.image.width) for answer in answers} != {("adapter", resolution)}:
        raise UsageError(f"{kind}: {answers[0].view} at {answers[0].image.width} pixels")
    return {
        **cost,
        "memory": curve.get("gigabytes", cost["memory"]),
        "steps": curve["step"],
        "gains": [curve[f"high{code}"] / curve[f"bare{code}"] - 1 for code in VALIDATION_CODES],
        "spec": bundle.manifest.tower.model_dump(mode="json"),
        "guidance_mb": sizes[GUIDANCE],
        "guidance_ms": _guidance_ms(bundle),
        "adapter_mb": sizes[ADAPTER],
        "vision_ms": answers[-1].timings_ms.vision,
        "answer_ms": answers[-1].timings_ms.total,
    }


def _step(model: Path, photograph: Path, resolution: int) -> Fields:
    return vars(tower_step.measure(model, "tiny", photograph, resolution))


def _photographs(folder: Path) -> list[Path]:
    """The examples, as large as photographs are."""
    folder.mkdir()
    made = []
    for file in sorted(EXAMPLES.glob("*.png"))[:3]:
        with Image.open(file, formats=PICTURE_FORMATS) as image:
            large = image.convert("RGB").resize(PICTURE, Image.Resampling.BICUBIC)
        large.save(folder / file.name)
        made.append(folder / file.name)
    return made


def _training(*words: object) -> None:
    """`python -m training ...`. Raises UsageError where it fails."""
    command = [sys.executable, "-m", "training", *map(str, words)]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if completed.returncode:
        raise UsageError(f"training {words[0]} failed: {completed.stderr.strip()[-300:]}")


def _guidance_ms(bundle: Bundle) -> float:
    """Milliseconds of processor time of a view, the second of two runs."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = str(bundle.path(GUIDANCE))
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    side = bundle.manifest.guidance.side
    square = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    session.run(None, {"picture": square})
    start = time.process_time()
    session.run(None, {"picture": square})
    return 1e3 * (time.process_time() - start)


HEAD: Final = (
    *("class", "tower", "views", "coding, s", "a step, s", "memory, GB"),
    *("guidance, MB", "guidance, ms", "adapter, MB", "looking, ms", "an answer, ms"),
    *("steps", "pictures a second", "high level loss, %"),
)


def _row(kind: str, measured: Fields, arguments: argparse.Namespace) -> list[str]:
    spec = TowerSpec.model_validate(measured["spec"])
    grid = "any shape" if spec.grid is None else f"{spec.grid}x{spec.grid}"
    return [
        kind,
        f"{spec.width} wide, {grid}",
        str(measured["views"]),
        *(f"{measured[name]:.1f}" for name in ("coding", "step", "memory", "guidance_mb")),
        f"{measured['guidance_ms']:.0f}",
        f"{measured['adapter_mb']:.1f}",
        *(f"{measured[name]:.0f}" for name in ("vision_ms", "answer_ms")),
        str(measured["steps"]),
        f"{measured['steps'] * arguments.batch / (60 * arguments.minutes):.2f}",
        ", ".join(f"{100 * gain:+.1f}" for gain in measured["gains"]),
    ]


def _text(arguments: argparse.Namespace) -> str:
    size = "small" if arguments.small else "of their true shapes"
    data = "the examples" if arguments.data is None else "photographs"
    codes = ", ".join(map(str, VALIDATION_CODES))
    how = "the CPU in float32" if arguments.device == "cpu" else "a GPU in bfloat16"
    return (
        f"Towers {size} with random weights and a small language model, each trained on {how} on "
        f"{data} for {arguments.minutes:g} minutes, {arguments.batch} a step, "
        f"exported, served, and asked about a picture of {PICTURE[0]}x{PICTURE[1]} by an edge that "
        f"chose nothing: all answers came with `view: adapter` about {_resolution(arguments)} "
        "pixels, as the manifest says. Coding, step, memory and guidance are of one picture and "
        "one thread, in processor time (memory on a GPU: of the training, at most); guidance is "
        "one view; pictures a second are those that all steps saw; looking and the answer "
        f"({TOKENS} tokens) are by the server's clock. Last, what the adapter changes of the high "
        "level loss of pictures that were kept aside, in percent, at "
        f"quality codes {codes}."
    )
