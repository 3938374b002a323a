"""A codec whose streams can be continued, whatever was trained: with random layers for that."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from shared.bundle import ENTROPY, MANIFEST, Bundle
from shared.coding.integer_layers import GROUPS, PASSES

Arrays = dict[str, np.ndarray]


def with_random_layers(arrays: Arrays) -> Arrays:
    """The arrays of an entropy network, what it makes of latents that are there before random."""
    chance = np.random.default_rng(0)
    channels, hidden = len(arrays["context.weight"]), len(arrays["hidden.0.bias"])
    sides = {"before1": (2 * channels + 1, 96), "before2": (9 * 96, 64)}
    for k in range(len(PASSES)):
        sides[f"before.{k}"] = (64, hidden)
        for g in range(GROUPS):
            sides[f"gate.{k}.{g}"] = (hidden, len(arrays[f"mean.{k}.{g}.bias"]))
    out = dict(arrays)
    for name, (inputs, outputs) in sides.items():
        # What is added to trained layers is small, so that what comes out is a sensible codec.
        most, bias = (2, 0) if name.startswith("before.") else (60, 60_000)
        out[f"{name}.weight"] = chance.integers(-most, most + 1, (inputs, outputs)).astype(np.int8)
        out[f"{name}.bias"] = chance.integers(0, bias + 1, outputs).astype(np.int32)
        out[f"{name}.shift"] = np.full(outputs, 9, np.int8)
    return out


def write_continuing(bundle: Bundle, folder: Path) -> Bundle:
    """A copy of a bundle in a new folder, its entropy network with such layers."""
    shutil.copytree(bundle.root, folder)
    with np.load(bundle.path(ENTROPY)) as file:
        arrays = dict(file)
    path = folder / ENTROPY
    np.savez_compressed(path, **with_random_layers(arrays))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["codec"] |= {"conditional": True, "layers": 4}
    manifest["files"][ENTROPY] |= {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.open(folder)
