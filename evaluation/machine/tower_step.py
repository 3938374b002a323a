"""Processor time and memory of a training step on a tower, in a process that does nothing else.

python -m evaluation.machine.tower_step MODEL BUNDLE PICTURE RESOLUTION
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.machine.peak_memory import peak
from shared.bundle import open_bundle
from shared.errors import UsageError


@dataclass(frozen=True)
class StepCost:
    """Seconds of processor time to code a picture and for a step on it, gigabytes at most; views
    that the tower has of the picture."""

    coding: float
    step: float
    memory: float
    views: int


def measure(model: Path, bundle: str, picture: Path, resolution: int) -> StepCost:
    """The cost of a step on one picture, scaled to a long side of `resolution`; one thread."""
    command = [sys.executable, "-m", "evaluation.machine.tower_step"]
    command += [str(model), bundle, str(picture), str(resolution)]
    completed = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    if completed.returncode:
        raise UsageError(f"a step of training failed: {completed.stderr.strip()[-300:]}")
    return StepCost(**json.loads(completed.stdout.splitlines()[-1]))


def main() -> None:
    """Take one step and print its `StepCost` as JSON."""
    import torch

    from edge_client.pictures.images import fit, load
    from shared.nets.model_files import load_vision
    from training.tower.trainer import TowerTraining, new_adapter

    model, name, file, resolution = sys.argv[1:]
    torch.set_num_threads(1)
    bundle = open_bundle(name)
    vision = load_vision(model, torch.device("cpu"), torch.float32)
    training = TowerTraining(bundle, vision)
    picture = np.array(fit(load(Path(file)), int(resolution), int(resolution)))
    adapter = new_adapter(bundle, vision.spec(), 1, 1.0)
    vision.geometry(*picture.shape[:2])
    code, step = torch.tensor([50]), torch.tensor([30])
    chance = np.random.default_rng(0)
    coding, coded = _timed(lambda: training.code([picture], code, step, chance))

    def learn() -> int:
        losses = training.losses(adapter, coded)
        (losses["low"] + losses["high"]).sum().backward()
        return int(len(vision.geometry(*picture.shape[:2]).covered))

    seconds, views = _timed(learn)
    print(json.dumps({"coding": coding, "step": seconds, "memory": peak() / 1e3, "views": views}))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
