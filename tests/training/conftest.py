"""A folder of photographs, and every weight trained for an instant, once for all tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from shared.bundle import MLLM
from training.__main__ import main
from training.codec import entropy
from training.small_models import clip, llava
from training.tower import joint, trainer

Train = Callable[..., None]

# By the hashes of their names, photo88 is kept aside by both splits of photographs.
PHOTOGRAPHS = {
    "photo0.png": data.coffee,
    "photo1.png": data.chelsea,
    "photo2.png": data.rocket,
    "photo88.png": data.astronaut,
}
INSTANT = 0.002  # minutes: one or two steps


@dataclass(frozen=True)
class Runs:
    """Folders of the runs, the bundle of the first three, and that with the adapter as well."""

    codec: Path
    clip: Path
    llava: Path
    bare: Path
    adapter: Path
    joint: Path
    entropy: Path
    bundle: Path


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name, picture in PHOTOGRAPHS.items():
        Image.fromarray(picture()).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def train(photographs: Path) -> Iterator[Train]:
    """`python -m training ...` in this process, validating on few pictures."""
    threads = torch.get_num_threads()

    def run(command: str, out: Path, minutes: float = INSTANT, **options: object) -> None:
        words = [command, "--out", str(out)]
        if command not in ("export", "restore"):
            words += ["--minutes", str(minutes), "--data", str(photographs)]
            words += ["--threads", "1", "--device", "cpu"]
        for name, value in options.items():
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["training", *words])
            for module in (clip, llava, joint):
                patch.setattr(module, "VALIDATION_PICTURES", 4)
            patch.setattr(trainer, "VALIDATION_PICTURES", 1)
            patch.setattr(joint, "MEASURED_ON", 2)
            patch.setattr(entropy, "FIRST", 4)
            main()

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def runs(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Codec, towers, language model and adapter after a step or two, and their bundle."""
    root = tmp_path_factory.mktemp("runs")
    names = ("codec", "clip", "llava", "bare", "adapter", "joint", "entropy", "bundle")
    made = Runs(*(root / name for name in names))
    train("codec", made.codec, batch=2, crop=64)
    train("clip", made.clip, batch=2)
    train("llava", made.llava, clip=made.clip, batch=2)
    parts = {"codec": made.codec, "clip": made.clip}
    train("export", made.bare, llava=made.llava, name="test", **parts)
    train("tower", made.adapter, mllm=made.bare / MLLM, bundle=made.bare)
    train("joint", made.joint, batch=2, adapter=made.adapter, **parts)
    train("entropy", made.entropy, codec=made.codec, batch=2)
    train("export", made.bundle, tower=made.adapter, bundle=made.bare, name="test")
    return made
