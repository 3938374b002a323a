"""Make the golden files of layers: python -m tests.shared.golden.make_layers

As those of `make.py` they are frozen. Their network is the same but for quantiser steps in place of
gains, and for the layers that a codec needs to be continued.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from shared.bitstream import Bitstream
from shared.coding.integer_layers import STEP_UNIT
from shared.entropy_model import EntropyModel
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement
from shared.layers.known import Known
from shared.level_map import CELLS, LevelMap, cell_shape, flat_codes, latent_shape
from tests.shared.golden import make

FOLDER = Path(__file__).parent / "layers"
SEED = 20261128
BEFORE = (24, 16)  # outputs of the two layers
SIZES = ((1, 1), (16, 33), (64, 64), (130, 75), (256, 160), (90, 300))
LAYERS = 3
PRICES = (16, 16, 0, 37)


def network(chance: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays of the form of `entropy.npz` of a codec that can be continued."""
    arrays = make.network(chance)
    arrays["steps"] = np.round(STEP_UNIT / arrays.pop("gains")).astype(np.int32)
    inputs = {
        **{"before1": (2 * make.CHANNELS + 1, BEFORE[0]), "before2": (9 * BEFORE[0], BEFORE[1])},
        **{f"before.{k}": (BEFORE[1], 48) for k in range(4)},
        **{f"gate.{k}.{g}": (48, n) for k in range(4) for g, n in enumerate(make.WIDTHS)},
    }
    for name, (rows, columns) in inputs.items():
        arrays[f"{name}.weight"] = chance.integers(-90, 91, (rows, columns)).astype(np.int8)
        arrays[f"{name}.shift"] = np.full(columns, 7, np.int8)
        arrays[f"{name}.bias"] = chance.integers(0, 128 << 7, columns, np.int32)
    return arrays


def layers(model: EntropyModel, number: int, chance: np.random.Generator) -> list[bytes]:
    """A stream of random latents and what continues it: some cells, all of it, some cells again."""
    width, height = SIZES[number]
    code = 12 * number
    codes, payload = flat_codes(code, width, height), b""
    if number % 2:
        values = chance.integers(0, 2, cell_shape(width, height, 16)).astype(np.uint8)
        level_map = LevelMap(values, 16, 2, 30)
        codes, payload = level_map.codes(code, width, height), level_map.encode()
    spread = np.exp(chance.normal(3, 1.5, (make.CHANNELS, 1, 1)))
    shape = (make.CHANNELS, *latent_shape(width, height))
    latent = (chance.standard_t(2, shape) * spread).astype(np.float32)
    coded = model.encode(latent, codes, code)
    stream = Bitstream(make.CODEC_ID, width, height, code, coded.check, payload, coded.payload)
    known, made = Known.read(stream, model), [stream.to_bytes()]
    for layer in range(LAYERS):
        code += 25
        cells = None
        if layer != 1:
            cell = CELLS[(number + layer) % len(CELLS)]
            chosen = chance.random(cell_shape(width, height, cell)) < 0.4
            chosen.flat[0] = True
            cells = Cells(chosen, cell)
        codes, mask = known.plan(cells, code, model)
        price = PRICES[(number + layer) % len(PRICES)]
        coded = model.encode(
            latent, codes, code, before=known.latents, mask=mask, price_before=price
        )
        named = cells.encode() if cells else b""
        enhancement = Enhancement(known.check, code, price, coded.check, named, coded.payload)
        known = known.continued(enhancement, model)
        made.append(enhancement.to_bytes())
    return made


def digest(known: Known) -> str:
    """SHA-256 of everything that a reader has of a picture."""
    found = hashlib.sha256()
    assert known.latents.hyper is not None
    for part in (known.latents.codes, known.latents.hyper, known.latents.values):
        found.update(part.astype("<i8").tobytes())
    return found.hexdigest()


def main() -> None:
    """Write the network, the files and the hashes of what each of their beginnings holds."""
    chance = np.random.default_rng(SEED)
    arrays = network(chance)
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "entropy.npz", **arrays)
    model = EntropyModel(arrays)
    hashes = {}
    for number, (width, height) in enumerate(SIZES):
        stream, *later = layers(model, number, chance)
        name = f"{number:02}-{width}x{height}.cotam"
        (FOLDER / name).write_bytes(b"".join([stream, *later]))
        known = Known.read(Bitstream.from_bytes(stream), model)
        hashes[name] = [digest(known)]
        for layer in later:
            known = known.continued(Enhancement.from_bytes(layer), model)
            hashes[name].append(digest(known))
    (FOLDER / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
