"""Maps to look at: the picture's own colours, one palette, a legend; never taken for a picture."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_client.guidance import overlay
from edge_client.pictures.inputs import expand, pictures_in
from shared.errors import UsageError
from shared.level_map import LevelMap
from shared.palette import FEWER, MORE, OPACITY

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def test_map(cli: Cli, photo: Path, tmp_path: Path) -> None:
    drawn = cli("map", photo, "--json")
    assert drawn.code == 0
    facts = json.loads(drawn.out)
    assert sum(facts["counts"]) == 16 * 10
    assert np.array(facts["importance"]).shape == (10, 16)
    assert cli("encode", photo).code == 0
    assert facts["bytes"] == photo.with_suffix(".cotam").stat().st_size
    levels = tmp_path / "levels.png"
    said = cli("map", "-", "-o", levels, "--levels", stdin=photo.read_bytes())
    assert said.code == 0
    assert f"{facts['bytes']} bytes at quality 3, " in said.err
    assert said.err.endswith(f"written to {levels}\n")
    for path in (photo.with_suffix(".map.png"), levels):
        with Image.open(path) as image:
            assert image.width == 768  # at least, whatever the picture has
            assert image.height > 480  # the picture, and a legend below it
            assert len(image.getcolors(1_000_000) or []) > 100
    assert cli("map", tmp_path / "none.png").code == 3


def test_large_pictures_are_shown_as_they_are(
    cli: Cli, tmp_path: Path, draw: Callable[..., np.ndarray]
) -> None:
    picture = draw(1200, 400)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    assert cli("map", tmp_path / "wide.png", "--levels").code == 0
    with Image.open(tmp_path / "wide.map.png") as image:
        shown = np.asarray(image)
    assert shown.shape[1] == 1200
    same = (shown[:400] == picture).all(axis=2)
    assert same.mean() > 0.3, "what is not marked keeps its colours, pixel for pixel"


def test_tints() -> None:
    grey = np.full((60, 60, 3), 100, np.uint8)
    sides = np.array([[0, 1, 0], [-1, 0.5, 0], [0, 0, 0]], np.float32)
    tinted = overlay.tinted(grey, sides, 20)
    assert (tinted[5, 5] == 100).all()
    for at, tint, share in (((10, 30), MORE, 1.0), ((30, 10), FEWER, 1.0), ((30, 30), MORE, 0.5)):
        wanted = [100 + OPACITY * share * (value - 100) for value in tint]
        assert tinted[at].tolist() == pytest.approx(wanted, abs=1)
    assert tinted[10, 20].tolist() == list(MORE)  # the line around it


@pytest.mark.parametrize(
    ("levels", "sides", "words"),
    [
        (2, [0, 1], ["more bits: 1 cells, quality 4.5", "fewer bits: 1 cells, quality 1.5"]),
        (3, [-1, 0], ["more bits: 0 cells", "as chosen: 1 cells", "fewer bits: 1 cells"]),
        (5, [-1, -0.5], ["quality 6", "quality 4.5", "quality 3", "quality 1.5", "quality 0"]),
    ],
)
def test_levels_and_their_legend(levels: int, sides: list[float], words: list[str]) -> None:
    level_map = LevelMap(np.array([[0, 1]], np.uint8), 32, levels, 30)
    assert overlay.sides_of_levels(level_map).tolist() == [sides]
    legend = overlay.legend_of_levels(level_map, 60)
    assert len(legend) == levels
    assert all(word in text for word, (_, text) in zip(words, legend, strict=True))


def test_one_palette() -> None:
    """The playground's, which is written in another language."""
    script = (ROOT / "cloud_server/playground/static/playground.js").read_text()
    assert f"const WARM = {[*MORE]};" in script
    assert f"const COOL = {[*FEWER]};" in script
    assert re.search(r"const OPACITY = (.*);", script)[1] == str(OPACITY)  # type: ignore[index]


def test_a_map_is_not_taken_for_a_picture(
    cli: Cli, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("map", photo).code == 0
    assert cli("map", photo, "-o", tmp_path / "other.png", "--levels").code == 0
    assert cli("encode", photo).code == 0
    stream = photo.with_suffix(".cotam")
    assert cli("inspect", stream, "--map", tmp_path / "third.png").code == 0
    assert expand([str(tmp_path)]) == expand([str(tmp_path / "*.png")]) == [str(photo)]
    assert photo.with_suffix(".map.png") not in pictures_in(tmp_path)  # nor where one watches
    with Image.open(tmp_path / "other.png") as image:
        image.load()
    # One that is named is taken, and so is a picture of a city's map.
    assert expand([str(tmp_path / "other.png")]) == [str(tmp_path / "other.png")]
    (tmp_path / "city.map.png").write_bytes(photo.read_bytes())
    assert str(tmp_path / "city.map.png") in expand([str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    photo.unlink()
    (tmp_path / "city.map.png").unlink()
    with pytest.raises(UsageError, match=r"no picture in \."):
        expand(["."])


def test_pngs_of_maps_hold_their_pixels() -> None:
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    with Image.open(io.BytesIO(overlay.png(values))) as image:
        assert np.array_equal(np.asarray(image), values)
