"""A real lmms-eval on Scenes: a model as it is, through `--model cotam`, and behind our server.

scenes --+--> llava_hf                                          (the pictures as they are)
         +--> cotam, inner=llava_hf --encode, decode--> llava_hf
         +--> openai --PNG--> our server, which takes ordinary pictures
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from evaluation.machine.server_process import ROOT, ServerProcess
from evaluation.report.document import command_line, table, write_section
from shared.bundle import MLLM, open_bundle
from shared.errors import UsageError

TASK: Final = "cotam_scenes"
TASKS: Final = "plugins/lmms_eval/tasks"
LAST_LINES: Final = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--qualities", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument(
        "--python",
        type=Path,
        required=True,
        metavar="FILE",
        help="interpreter of the environment in which lmms-eval is installed, with this package",
    )


def main(arguments: argparse.Namespace) -> None:
    """Run the task every way, then write the section. Raises UsageError."""
    bundle = open_bundle(arguments.bundle)
    model = {"pretrained": bundle.path(MLLM), "dtype": "float32", "device_map": "cpu"}
    results_of = {"`llava_hf`, pictures as they are": _run(arguments.python, "llava_hf", model)}
    for quality in arguments.qualities:
        coded = {"inner": "llava_hf", "quality": f"{quality:g}", **model}
        name = f"`cotam`, `inner=llava_hf,quality={quality:g}`"
        results_of[name] = _run(arguments.python, "cotam", coded)
    with ServerProcess(bundle=arguments.bundle, plain_pictures=True) as server:
        asked = {"model": bundle.manifest.name, "base_url": f"{server.url}/v1"}
        asked |= {"api_key": "none", "num_concurrent": "2", "timeout": "120"}
        results_of["`openai`, our server, PNG"] = _run(arguments.python, "openai", asked)
    body = (
        f"{command_line(arguments.words)}\n\n"
        f"lmms-eval {_version(arguments.python)}, task `{TASK}`, the language model of bundle "
        f"{bundle.hex_id} on a CPU in float32. `cotam` shows the decoded picture; what the adapter "
        "adds is not in it.\n\n"
        + table(
            ["--model", "questions", "accuracy", "bytes a picture", "bpp"],
            [_row(name, results) for name, results in results_of.items()],
        )
    )
    write_section(arguments.report, "lmms", body)
    print(body)


def _run(python: Path, model: str, options: Mapping[str, object]) -> dict[str, Any]:
    """The results that lmms-eval writes of a run of the task."""
    given = ",".join(f"{name}={value}" for name, value in options.items())
    with tempfile.TemporaryDirectory() as out:
        command = [str(python), "-m", "lmms_eval", "--model", model, "--model_args", given]
        command += ["--tasks", TASK, "--include_path", TASKS, "--output_path", out]
        command += ["--batch_size", "1"]
        if model != "openai":
            command += ["--device", "cpu"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": f"{out}/hf"}
        completed = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        files = sorted(Path(out).rglob("*_results.json"))
        if completed.returncode or not files:
            said = (completed.stdout + completed.stderr).strip().splitlines()[-LAST_LINES:]
            raise UsageError(f"lmms-eval of {python} failed on {model}: {' '.join(said)}")
        results: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return results


def _version(python: Path) -> str:
    ask = "from importlib.metadata import version; print(version('lmms_eval'))"
    return subprocess.check_output([str(python), "-c", ask], text=True).strip()


def _row(name: str, results: Mapping[str, Any]) -> Sequence[str]:
    throughput = results.get("throughput", {})
    size, bpp = throughput.get("avg_picture_bytes"), throughput.get("avg_picture_bpp")
    return [
        name,
        str(results["n-samples"][TASK]["effective"]),
        f"{results['results'][TASK]['accuracy,none']:.3f}",
        "" if size is None else f"{size:.0f}",
        "" if bpp is None else f"{bpp:.3f}",
    ]
