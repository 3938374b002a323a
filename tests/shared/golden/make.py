"""Make the golden streams: python tests/shared/golden/make.py

They are frozen. A reader that stops reading them has changed the format: that takes a new version
of the container and new streams, and those of a version that is still read stay beside them.

The network is small and random, so that the streams do not depend on any bundle.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[2]))

from shared.bitstream import Bitstream  # noqa: E402
from shared.coding.integer_layers import CODES, KNOTS, PASSES  # noqa: E402
from shared.coding.symbol_coder import scale_tables  # noqa: E402
from shared.entropy_model import EntropyModel, Symbols  # noqa: E402
from shared.level_map import (  # noqa: E402
    CELLS,
    LEVELS,
    STEP_UNIT,
    LevelMap,
    cell_shape,
    flat_codes,
    latent_shape,
)

SEED = 20261124
CODEC_ID = b"gold"
CHANNELS, HYPER = 24, 8
WIDTHS = (1, 2, 3, 5, 6, 7)  # of the groups of channels
INPUTS = {
    **{"hyper1": (9 * HYPER, 32), "hyper2": (32, 128), "hyper3": (32, 96)},
    **{"mix": (24 + KNOTS, 32), "context": (CHANNELS, 16)},
    **{f"hidden.{k}": (32 + 16 * len(near), 48) for k, (_, near) in enumerate(PASSES)},
    **{f"own.{k}.{g}": (2 * n, 48) for k in range(len(PASSES)) for g, n in enumerate(WIDTHS[:-1])},
    **{f"mean.{k}.{g}": (48, n) for k in range(len(PASSES)) for g, n in enumerate(WIDTHS)},
    **{f"scale.{k}.{g}": (48, n) for k in range(len(PASSES)) for g, n in enumerate(WIDTHS)},
}
SIZES = (
    *((1, 1), (16, 16), (17, 15), (33, 1), (1, 100), (64, 64), (65, 63), (128, 96), (250, 130)),
    *((256, 256), (256, 160), (300, 20), (7, 333), (192, 192), (320, 240), (97, 211), (400, 300)),
    *((512, 512), (640, 480), (1000, 700)),
)
MAPS = (None, *itertools.product(CELLS, LEVELS))


def network(chance: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays of the form of `entropy.npz`, whose scale indices reach from 0 to 63."""
    arrays: dict[str, np.ndarray] = {}
    for name, (inputs, outputs) in INPUTS.items():
        arrays[f"{name}.weight"] = chance.integers(-90, 91, (inputs, outputs)).astype(np.int8)
        kind = name.partition(".")[0]
        shift = {"scale": 10, "mean": 8, "hyper1": 7, "context": 7, "own": 5}.get(kind, 9)
        low, high = {"scale": (-8, 64), "mean": (-40, 40)}.get(kind, (-6, 6))
        arrays[f"{name}.shift"] = np.full(outputs, shift, np.int8)
        arrays[f"{name}.bias"] = chance.integers(low << shift, high << shift, outputs, np.int32)
    steps = np.exp(np.linspace(np.log(420), np.log(14), CODES))
    arrays["gains"] = (1 / steps[:, None] * np.ones(CHANNELS)).astype(np.float32)
    arrays["hyper_gains"] = np.full((CODES, HYPER), 0.5, np.float32)
    scales = np.linspace(0, 50, HYPER)[None] * np.linspace(0.6, 1, CODES)[:, None]
    arrays["hyper_scales"] = scales.astype(np.uint8)
    for i, (inputs, outputs) in enumerate(((CHANNELS, 12), (48, 12), (48, HYPER))):
        weight = chance.normal(0, inputs**-0.5, (inputs, outputs))
        arrays[f"hyper_analysis{i}.weight"] = weight.astype(np.float32)
        arrays[f"hyper_analysis{i}.bias"] = np.zeros(outputs, np.float32)
    arrays["tables"], arrays["table_ends"] = scale_tables()
    return arrays


def stream(model: EntropyModel, number: int, chance: np.random.Generator) -> Bitstream:
    """A stream of random latents with tails so heavy that some symbols are escapes."""
    width, height = SIZES[number]
    code = round(7 * number % len(SIZES) * (CODES - 1) / (len(SIZES) - 1))
    codes, payload = flat_codes(code, width, height), b""
    form = MAPS[number % len(MAPS)]
    if form is not None:
        cell, levels = form
        values = chance.integers(0, levels, cell_shape(width, height, cell)).astype(np.uint8)
        level_map = LevelMap(values, cell, levels, step=STEP_UNIT * int(chance.integers(16)))
        codes, payload = level_map.codes(code, width, height), level_map.encode()
    spread = np.exp(chance.normal(3, 1.5, (CHANNELS, 1, 1)))
    latent = chance.standard_t(2, (CHANNELS, *latent_shape(width, height))) * spread
    coded = model.encode(latent.astype(np.float32), codes, code)
    extras = ((128, b""), (200, b"hi")) if number % 6 == 5 else ()
    return Bitstream(CODEC_ID, width, height, code, coded.check, payload, coded.payload, extras)


def digest(symbols: Symbols, codes: np.ndarray) -> str:
    """SHA-256 of everything that a reader gets out of a stream, as 16-bit integers."""
    found = hashlib.sha256()
    for part in (codes, symbols.hyper, symbols.values, symbols.means):
        found.update(part.astype("<i2").tobytes())
    return found.hexdigest()


def main() -> None:
    """Write the network, the streams and their hashes."""
    chance = np.random.default_rng(SEED)
    arrays = network(chance)
    np.savez_compressed(FOLDER / "entropy.npz", **arrays)
    model = EntropyModel(arrays)
    hashes = {}
    for number in range(len(SIZES)):
        made = stream(model, number, chance)
        size, code = (made.width, made.height), made.quality_code
        codes = flat_codes(code, *size)
        if made.level_map:
            codes = LevelMap.decode(made.level_map, *size).codes(code, *size)
        name = f"{number:02}-{made.width}x{made.height}.cotam"
        (FOLDER / name).write_bytes(made.to_bytes())
        hashes[name] = digest(model.read(made.latents, made.check, codes, code), codes)
    (FOLDER / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
