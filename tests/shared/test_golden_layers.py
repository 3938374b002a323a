"""Files of layers that were written once, as the golden streams: this format is seen to change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.entropy_model import EntropyModel
from shared.layers.enhancement import read_layers, split_layers
from shared.layers.known import Known
from tests.shared.golden.make_layers import digest

FOLDER = Path(__file__).parent / "golden" / "layers"
HASHES: dict[str, list[str]] = json.loads((FOLDER / "hashes.json").read_text())


@pytest.fixture(scope="module")
def model() -> EntropyModel:
    return EntropyModel.load(FOLDER / "entropy.npz")


def test_all_are_there_and_of_all_kinds() -> None:
    assert sorted(HASHES) == sorted(path.name for path in FOLDER.glob("*.cotam"))
    files = [read_layers((FOLDER / name).read_bytes()) for name in HASHES]
    assert {bool(stream.level_map) for stream, _ in files} == {False, True}
    layers = [layer for _, later in files for layer in later]
    assert {bool(layer.cells) for layer in layers} == {False, True}


@pytest.mark.parametrize("name", HASHES)
def test_a_golden_file_is_read_as_it_was(name: str, model: EntropyModel) -> None:
    layers = split_layers((FOLDER / name).read_bytes())
    assert len(layers) == len(HASHES[name]) == 4
    for count, wanted in enumerate(HASHES[name], start=1):
        data = b"".join(layers[:count])
        stream, later = read_layers(data)
        assert stream.to_bytes() + b"".join(layer.to_bytes() for layer in later) == data
        assert digest(Known.read(stream, model, later)) == wanted
