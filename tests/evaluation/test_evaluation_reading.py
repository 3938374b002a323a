"""What a reader finds again of print: by place, in parts, aslant; and the command around it."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cloud_server.inference.mllm.rapidocr import Reader
from edge_client.pictures.images import Picture
from evaluation.codecs.pillow_formats import AVIF
from evaluation.commands.pictures import reading
from evaluation.judges.reading import Print, characters_found, edits_inside, fold
from shared.errors import UsageError


def box(text: str, left: float, top: float, right: float, bottom: float) -> Print:
    return Print(text, ((left, top), (right, top), (right, bottom), (left, bottom)))


def turned(line: Print, angle: float) -> Print:
    co, si = math.cos(angle), math.sin(angle)
    return Print(line.text, tuple((x * co - y * si, x * si + y * co) for x, y in line.quad))


@pytest.mark.parametrize(
    ("text", "folded"),
    [("Total: 12.50", "total1250"), ("STRASSE", "strasse"), ("½ x", "12x"), (" -- ", "")],
)
def test_case_spaces_and_punctuation_do_not_count(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("wanted", "text", "edits"),
    [
        *(("abc", "abc", 0), ("abc", "xxabcyy", 0), ("abc", "xxacyy", 1), ("abc", "abxc", 1)),
        *(("abc", "", 3), ("abc", "xyz", 3), ("", "abc", 0), ("kitten", "sitting", 2)),
    ],
)
def test_edits_to_a_piece_of_a_text(wanted: str, text: str, edits: int) -> None:
    assert edits_inside(wanted, text) == edits


@pytest.mark.parametrize("angle", [0.0, 0.08, -0.2, 1.5])
def test_a_line_is_looked_for_where_it_stands(angle: float) -> None:
    line = turned(box("Whole milk 2.50", 100, 100, 220, 112), angle)
    reads = [
        box("Brown bread 1.10", 100, 84, 220, 96),
        box("Whole milk", 98, 99, 180, 113),
        box("2.5O", 190, 99, 222, 113),
        box("Green tea 7.77", 100, 118, 220, 130),
    ]
    there = [turned(read, angle) for read in reads]
    assert characters_found(line, there) == len("wholemilk250") - 1
    assert characters_found(line, [there[0], there[3]]) == 0
    assert characters_found(line, there[1:2]) == len("wholemilk")


def test_a_line_that_was_read_with_its_neighbour_is_read() -> None:
    cells = [box("North", 10, 10, 40, 20), box("1,234", 60, 10, 90, 20)]
    both = [box("North 1.234", 9, 9, 91, 21)]
    assert [characters_found(cell, both) for cell in cells] == [5, 4]


def written(text: str, size: int = 30) -> Picture:
    image = Image.new("RGB", (260, 80), "white")
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text((14, 18), text, (20, 20, 20), font)
    return np.asarray(image)


def test_the_reader_reads_and_says_where() -> None:
    (line,) = Reader(1).read(written("EXIT 42"))
    assert fold(line.text) == "exit42"
    xs, ys = zip(*line.quad, strict=True)
    assert 0 <= min(xs) < 30 < 110 < max(xs) < 200
    assert 0 <= min(ys) < 35 < 40 < max(ys) < 80
    assert 0.5 < line.sure <= 1
    assert Reader(1).read(np.full((64, 64, 3), 200, np.uint8)) == []


def arguments(folder: Path, **others: object) -> argparse.Namespace:
    options = {
        "pictures": folder / "photos",
        "most": 0,
        "side": 260,
        "bundle": "tiny",
        "qualities": [3.0, 6.0],
        "mapped_qualities": [6.0],
        "formats": ["AVIF"],
        "resamples": 20,
        "threads": 1,
        "report": folder / "docs" / "results.md",
        "results": folder / "runs",
        "words": ("reading", "--pictures", str(folder / "photos")),
    }
    return argparse.Namespace(**{**options, **others})


def test_a_small_run_writes_table_and_plot_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LADDERS", {AVIF: (5, 40)})  # reading is slow
    (tmp_path / "photos").mkdir()
    Image.fromarray(written("EXIT 42")).save(tmp_path / "photos" / "sign.png")
    reading.main(arguments(tmp_path))
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "`python -m evaluation reading --pictures photos`" in text
    assert str(tmp_path) not in text
    assert "the 1 lines that the reader finds in the uncompressed pictures (6 characters)" in text
    assert "| flat, 6 |" in text
    assert (tmp_path / "docs" / "img" / "reading_photos_260.png").stat().st_size > 1000
    before = (tmp_path / "runs" / "reading.jsonl").read_bytes()
    reading.main(arguments(tmp_path))
    assert (tmp_path / "runs" / "reading.jsonl").read_bytes() == before
    assert (tmp_path / "docs" / "results.md").read_text() == text


def test_pages_are_told_by_kind_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LADDERS", {AVIF: (40,)})
    few = {"most": 3, "side": 200, "qualities": [6.0], "pictures": None}
    reading.main(arguments(tmp_path, **few))
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "3 pages of the test split" in text
    for kind in ("paragraph", "receipt", "road sign"):
        assert f"| {kind} | 1 |" in text
    assert "size of print, an em" in text


def test_pictures_without_print_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (96, 96), "white").save(tmp_path / "photos" / "empty.png")
    with pytest.raises(UsageError, match="no line of these pictures"):
        reading.main(arguments(tmp_path, qualities=[1.0], mapped_qualities=[1.0]))
