"""Twenty streams that were written once: the format cannot change without this being seen."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from shared.bitstream import Bitstream
from shared.coding import ans
from shared.entropy_model import EntropyModel
from shared.level_map import CELLS, LEVELS, LevelMap, flat_codes

FOLDER = Path(__file__).parent / "golden"
HASHES: dict[str, str] = json.loads((FOLDER / "hashes.json").read_text())


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """The script that made them."""
    spec = importlib.util.spec_from_file_location("golden_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def model() -> EntropyModel:
    return EntropyModel.load(FOLDER / "entropy.npz")


def test_there_are_twenty_of_all_kinds() -> None:
    streams = [Bitstream.from_bytes((FOLDER / name).read_bytes()) for name in HASHES]
    assert sorted(HASHES) == sorted(path.name for path in FOLDER.glob("*.cotam"))
    assert len(streams) == 20
    maps = [
        LevelMap.decode(stream.level_map, stream.width, stream.height)
        for stream in streams
        if stream.level_map
    ]
    assert {(m.cell, m.levels) for m in maps} == set(itertools.product(CELLS, LEVELS))
    assert {stream.quality_code for stream in streams} >= {0, 180}
    assert any(stream.extras for stream in streams)
    assert not all(stream.level_map for stream in streams)


@pytest.mark.parametrize("name", HASHES)
def test_a_golden_stream_is_read_as_it_was(
    name: str, make: ModuleType, model: EntropyModel
) -> None:
    data = (FOLDER / name).read_bytes()
    stream = Bitstream.from_bytes(data)
    assert stream.to_bytes() == data
    size, code = (stream.width, stream.height), stream.quality_code
    codes = flat_codes(code, *size)
    if stream.level_map:
        level_map = LevelMap.decode(stream.level_map, *size)
        assert level_map.encode() == stream.level_map
        codes = level_map.codes(code, *size)
    symbols = model.read(stream.latents, stream.check, codes, code)
    assert make.digest(symbols, codes) == HASHES[name]


def test_the_symbols_of_golden_streams_are_coded_to_the_same_bytes(model: EntropyModel) -> None:
    """The coder writes what it reads: popped symbols pushed again give the payload."""
    name = "10-256x160.cotam"
    stream = Bitstream.from_bytes((FOLDER / name).read_bytes())
    codes = flat_codes(stream.quality_code, stream.width, stream.height)
    if stream.level_map:
        level_map = LevelMap.decode(stream.level_map, stream.width, stream.height)
        codes = level_map.codes(stream.quality_code, stream.width, stream.height)
    popped: list[tuple[np.ndarray, np.ndarray]] = []
    pop = model._coder.pop

    def watched(coder: ans.Coder, index: np.ndarray, allowed: None = None) -> np.ndarray:
        popped.append((pop(coder, index, allowed), index))
        return popped[-1][0]

    model._coder.pop = watched  # type: ignore[method-assign]
    try:
        model.read(stream.latents, stream.check, codes, stream.quality_code)
    finally:
        model._coder.pop = pop  # type: ignore[method-assign]
    coder = ans.open_coder()
    for symbols, index in reversed(popped):
        model._coder.push(coder, symbols, index)
    assert coder.payload() == stream.latents
