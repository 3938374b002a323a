"""What layers cost, measured as the command does, on one picture of each kind."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from evaluation.commands.pictures import nested
from shared.bundle import Bundle


@pytest.fixture
def arguments(continuing_bundle: Bundle, tmp_path: Path) -> argparse.Namespace:
    photos = tmp_path / "photos"
    photos.mkdir()
    # By the hash of its name this one is kept aside.
    Image.fromarray(data.astronaut()).save(photos / "photo88.png")
    return argparse.Namespace(
        data=photos,
        most=1,
        bundle=str(continuing_bundle.root),
        guidance=False,
        threads=1,
        report=tmp_path / "results.md",
        results=tmp_path / "raw",
        words=("nested", "--data", str(photos), "--most", "1"),
    )


def test_layers_are_held_against_one_stream(
    arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nested, "TURNS", 1)
    monkeypatch.setattr(nested, "PATHS", ((0, 3), (0, 2, 4)))
    nested.main(arguments)
    written = arguments.report.read_text()
    assert "`python -m evaluation nested --data photos --most 1`" in written
    for world in ("Scenes", "photographs", "Pages"):
        assert f"| {world}, 0 -> 2 -> 4 |" in written
    records = (arguments.results / "nested.jsonl").read_text()
    for line in records.splitlines():
        paths = json.loads(line)["value"]["paths"]
        assert len(paths["0 -> 2 -> 4"]["restricted"]) == 3
        for path in paths.values():
            assert path["alone"] < sum(path["restricted"]) < sum(path["unrestricted"])
    nested.main(arguments)
    assert (arguments.results / "nested.jsonl").read_text() == records
    assert arguments.report.read_text() == written
