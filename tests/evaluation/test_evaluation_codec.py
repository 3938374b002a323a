"""Fidelity is measured on whole files, and matched sizes are near."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.distortion import ms_ssim_db, psnr
from evaluation.codecs.pictures import picture_set
from evaluation.codecs.pillow_formats import (
    AVIF,
    FORMATS,
    JPEG,
    best_within,
    decode,
    nearest_quality,
)
from evaluation.commands.pictures import codec
from evaluation.report.records import Records
from scenes import Backgrounds, render
from shared.bundle import Bundle
from shared.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small pictures, one of them not square."""
    path = tmp_path_factory.mktemp("photos")
    for index, size in enumerate(((176, 176), (192, 168))):
        picture = render("test", index, Backgrounds(), size).picture
        Image.fromarray(picture).save(path / f"{index}.png")
    return path


def run_on(folder: Path, out: Path, qualities: list[float], most: int = 0) -> argparse.Namespace:
    """The arguments of a run on a folder of pictures."""
    return argparse.Namespace(
        pictures=folder,
        most=most,
        bundle="tiny",
        qualities=qualities,
        guidance=False,
        compressai="",
        run=None,
        threads=1,
        report=out / "docs" / "results.md",
        results=out / "runs",
        words=("codec", "--pictures", str(folder), "--most", str(most)),
    )


def test_a_small_run_writes_table_and_plot(folder: Path, tmp_path: Path) -> None:
    arguments = run_on(folder, tmp_path, qualities=[1.0, 3.0, 5.0], most=1)
    codec.main(arguments)
    written = arguments.report.read_text()
    assert f"`python -m evaluation codec --pictures {folder.name} --most 1`" in written
    assert str(folder.parent) not in written
    assert all(form.describe() in written for form in FORMATS)
    before = (tmp_path / "runs" / "codec.jsonl").read_bytes()
    codec.main(arguments)
    assert (tmp_path / "runs" / "codec.jsonl").read_bytes() == before
    assert arguments.report.read_text() == written


def test_more_quality_is_more_bytes_and_less_error(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    pictures = picture_set(folder)
    records = Records(tmp_path / "codec.jsonl")
    points = codec.measure(CotamCodec(bundle), pictures, [0.0, 4.0, 8.0], False, records)
    assert set(points) == {"ours", "JPEG", "WebP", "AVIF"}
    curve = codec.curve(points, "ours", "psnr")
    assert (np.diff(curve.rates) > 0).all()
    assert (np.diff(curve.qualities) > 0).all()


def test_a_folder_of_odd_pictures_is_measured_as_far_as_it_can_be(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "odd ones \N{LATIN SMALL LETTER U WITH DIAERESIS}"
    odd.mkdir()
    for name, side in (("dot.png", 1), ("same.png", 160), ("same.webp", 30), ("a b.png", 7)):
        Image.new("RGB", (side, side), (90, 120, side)).save(odd / name)
    (odd / "broken.png").write_bytes(b"no picture")
    whole = (folder / "0.png").read_bytes()
    (odd / "half.png").write_bytes(whole[: len(whole) // 2])
    (odd / "whole.png").write_bytes(whole)
    arguments = run_on(odd, tmp_path, qualities=[2.0])
    codec.main(arguments)
    written = arguments.report.read_text()
    assert f"5 pictures: the pictures of `{odd.name}`" in written
    assert "(left out, because they cannot be read: broken.png, half.png)" in written
    assert "4 of 5 pictures have fewer and count for PSNR alone" in written
    assert "nan" not in written
    errors = capsys.readouterr().err
    assert errors.count("left out:") == 2
    rows = [json.loads(line) for line in (tmp_path / "runs/codec.jsonl").read_text().splitlines()]
    assert {row["key"]["picture"] for row in rows if row["value"]["ms_ssim"]} == {"whole.png"}


def test_a_single_pixel_has_no_similarity_and_no_rate_in_common(tmp_path: Path) -> None:
    dot = tmp_path / "dot"
    dot.mkdir()
    Image.new("RGB", (1, 1), "red").save(dot / "dot.png")
    arguments = run_on(dot, tmp_path, qualities=[1.0, 4.0])
    codec.main(arguments)
    written = arguments.report.read_text()
    assert written.count("none in common | none in common") == len(FORMATS)
    assert written.count("| no number |") == 2
    assert "nan" not in written


def test_distortion_of_known_pictures() -> None:
    black = np.zeros((176, 176, 3), np.uint8)
    assert psnr(black, black) == 100.0
    assert psnr(black, black + 255) == pytest.approx(0.0)
    noisy = np.random.default_rng(0).integers(0, 255, black.shape, np.uint8)
    assert ms_ssim_db(noisy, noisy) > 60 > ms_ssim_db(noisy, noisy // 2) > 0
    assert np.isnan(ms_ssim_db(black[:100], black[:100]))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_files_come_back_and_fit_their_budget(form, folder: Path) -> None:
    picture = picture_set(folder).load(1)
    file = best_within(form, picture, 3000)
    assert len(file) <= 3000
    assert decode(file).shape == picture.shape
    assert psnr(picture, decode(file)) > 15


def test_a_budget_that_nothing_fits_gives_the_smallest(folder: Path) -> None:
    picture = picture_set(folder).load(0)
    assert best_within(JPEG, picture, 10) == JPEG.encode(picture, 0)


def test_the_nearest_quality_is_found() -> None:
    assert nearest_quality(lambda quality: quality**2, 50.0) == 7
    assert nearest_quality(lambda quality: quality + 100, 5.0) == 0
    assert nearest_quality(lambda quality: quality, 1e9) == 100


def test_formats_say_their_versions() -> None:
    assert AVIF.describe().startswith("AVIF (")
    assert "speed 4" in AVIF.describe()


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures"):
        picture_set(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        picture_set(tmp_path / "nowhere")
    assert len(picture_set(None, 3).files) == 3
