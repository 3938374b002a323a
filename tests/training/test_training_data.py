"""Photographs, crops, quality codes and scenes as batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scenes import COLOURS, KINDS, Backgrounds
from training.codec.trainer import knot_lambdas, lambdas, random_codes
from training.loop.pictures import photographs, random_crop
from training.loop.square import MEAN, PATCH, SIDE, normalise, pixels
from training.loop.world import TIMES, BusierBackgrounds, Objects, SceneStream
from training.small_models.density import DENSITIES


@pytest.fixture(scope="module")
def folder(photographs: Path) -> Path:
    return photographs


def test_a_part_of_the_photographs_is_kept_aside(folder: Path) -> None:
    assert len(photographs(folder, "train")) == 3
    assert len(photographs(folder, "val")) == 1


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no photographs for val"):
        photographs(tmp_path, "val")


def test_crops_have_their_size_even_where_the_picture_is_smaller(folder: Path) -> None:
    small = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    for pictures in ([small], photographs(folder, "train")):
        rng = np.random.default_rng(0)
        crops = [random_crop(pictures, 64, rng) for _ in range(20)]
        assert {(crop.shape, crop.dtype.name) for crop in crops} == {((64, 64, 3), "uint8")}
        assert len({crop.tobytes() for crop in crops}) > 1


def test_quality_codes_stay_in_range_and_have_cells() -> None:
    codes, base = random_codes(64, 7, torch.Generator().manual_seed(0))
    assert codes.shape == (64, 7, 7)
    assert base.shape == (64,)
    assert codes.min() >= 0
    assert codes.max() <= 180
    flat = (codes == codes[:, :1, :1]).flatten(1).all(1)
    assert 16 < flat.sum() < 60
    coarse = (codes[:, 0:6:2] == codes[:, 1:7:2]).flatten(1).all(1)
    assert flat.sum() + 4 < coarse.sum() < 60
    assert torch.equal(codes[flat][:, 0, 0], base[flat])


def test_lambdas_are_log_linear_between_the_knots() -> None:
    knots = knot_lambdas()
    assert torch.all(knots.diff() > 0)
    between = lambdas(torch.tensor([[[0.0, 10.0, 20.0, 180.0]]])).flatten()
    expected = torch.stack([knots[0], (knots[0] * knots[1]).sqrt(), knots[1], knots[9]])
    assert torch.allclose(between, expected)


def test_scenes_lie_on_the_square_of_the_tower(folder: Path) -> None:
    stream = SceneStream("train", folder)
    (sample,) = stream.batch(1, (160, 256))
    assert sample.picture.shape == (SIDE, SIDE, 3)
    assert np.array_equal(sample.picture[:, :160], sample.scene.picture)
    assert (sample.picture[:, 160:] == np.round(255 * np.array(MEAN))).all()
    assert {labels.shape for labels in sample.labels.values()} == {(16, 16)}
    assert all(not labels[:, 10:].any() for labels in sample.labels.values())
    density = Objects.of([sample]).density()
    objects = sample.scene.objects
    counts = [sum(o.kind == kind for o in objects) for kind in KINDS]
    counts += [sum(o.colour == colour for o in objects) for colour in COLOURS]
    assert density.shape == (1, DENSITIES, (SIDE // PATCH) ** 2)
    assert density.sum(2)[0].tolist() == pytest.approx(counts)
    assert not density.view(DENSITIES, SIDE // PATCH, -1)[:, :, 10:].any()
    x = normalise(pixels([sample]))
    assert x.shape == (1, 3, SIDE, SIDE)
    assert x[:, :, :, 160:].abs().max() < 0.01


def test_a_stream_can_start_anywhere(folder: Path) -> None:
    first = SceneStream("train", folder).batch(5)
    later = SceneStream("train", folder, start=3).batch(2)
    for sample, same in zip(first[3:], later, strict=True):
        assert np.array_equal(sample.picture, same.picture)


def test_training_sees_photographs_and_mosaics_of_them(folder: Path) -> None:
    busier, plain = (kind.from_folder(folder, "train") for kind in (BusierBackgrounds, Backgrounds))
    assert len(busier) == 2 * len(plain)
    for index in range(len(plain)):
        whole, mosaic = busier.photograph(index), busier.photograph(len(plain) + index)
        assert np.array_equal(whole, plain.photograph(index))
        times = TIMES[(len(plain) + index) % len(TIMES)]
        tiles = [part for row in np.split(mosaic, times) for part in np.split(row, times, axis=1)]
        assert all(np.array_equal(tile, tiles[0]) for tile in tiles)
        assert tiles[0].shape[:2] == tuple(side // times for side in whole.shape[:2])
        assert abs(float(mosaic.mean()) - float(whole.mean())) < 3
