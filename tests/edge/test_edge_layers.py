"""Pictures in layers: coded, written and shown at the edge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_client.coding.continuing import CodedPicture
from edge_client.coding.encoder import Encoder
from edge_client.coding.picture_coder import PictureCoder
from shared.bitstream import Bitstream
from shared.bundle import ENTROPY, Bundle
from shared.coding.symbol_coder import BIT_PRICE
from shared.entropy_model import EntropyModel
from shared.errors import EnhancementCells, EnhancementCoarse, EnhancementError, UsageError
from shared.layers.cells import Cells
from shared.layers.enhancement import Enhancement, read_layers, split_layers
from shared.layers.known import Known

Cli = Callable[..., Any]
Draw = Callable[..., np.ndarray]
UNKNOWN_PRICE = 0.0


@pytest.fixture(scope="module")
def coder(continuing_bundle: Bundle) -> PictureCoder:
    return PictureCoder(continuing_bundle, quality=1.0, threads=1)


def test_a_coded_picture_continues_its_stream(
    coder: PictureCoder, continuing_bundle: Bundle, draw: Draw
) -> None:
    picture = draw(250, 160)
    coded = coder.code(picture)
    assert coded.stream == coder.encode(picture)
    cells = Cells.at([(0, 0), (1, 2)], 250, 160)
    made = [
        coded.enhancement(cells, 4.0),
        coded.enhancement(None, 3.0),
        coded.enhancement(cells, 5.5),
    ]
    model = EntropyModel.load(continuing_bundle.path(ENTROPY))
    known = Known.read(coded.stream, model, map(Enhancement.from_bytes, made))
    assert set(known.latents.codes[cells.mask(250, 160)].tolist()) == {110}
    latent = coder.encoder.analyse(picture).latent
    first = Known.read(coded.stream, model).latent(model)
    assert np.square(known.latent(model) - latent).mean() < np.square(first - latent).mean()


def test_few_cells_are_few_bytes(coder: PictureCoder, draw: Draw) -> None:
    picture = draw(256, 256)
    sizes = []
    for count in (1, 4, 64):
        cells = Cells.at([divmod(n, 8) for n in range(count)], 256, 256)
        sizes.append(len(coder.code(picture).enhancement(cells, 4.0)))
    assert sizes[0] < sizes[1] < sizes[2] / 4


def test_what_cannot_be_continued_is_an_error_and_changes_nothing(
    coder: PictureCoder, draw: Draw
) -> None:
    coded = coder.code(draw(100, 100))
    for cells, quality, error in (
        (None, 1.0, EnhancementCoarse),
        (None, 9.5, UsageError),
        (Cells.at([(0, 0)], 300, 300), 5.0, EnhancementCells),
    ):
        with pytest.raises(error):
            coded.enhancement(cells, quality)
    assert Enhancement.from_bytes(coded.enhancement(None, 5.0)).base == coded.stream.check


def test_a_bundle_that_continues_nothing_says_so(encoder: Encoder, draw: Draw) -> None:
    with np.load(encoder.bundle.path(ENTROPY)) as file:
        plain = {name: file[name] for name in file.files if not name.startswith("before1.")}
    analysed = replace(encoder.analyse(draw(64, 64)), model=EntropyModel(plain))
    coded = CodedPicture(analysed, analysed.code(1.0))
    with pytest.raises(EnhancementError, match="not made to continue"):
        coded.enhancement(None, 9.0)


def test_layers_of_a_file_are_shown_and_each_beginning_is_a_picture(
    cli: Cli, photo: Path, continuing_bundle: Bundle
) -> None:
    named = ("--bundle", continuing_bundle.root)
    coded = cli("encode", photo, "--layers", "0,2,4.5", "--json", *named)
    assert coded.code == 0
    record = json.loads(coded.out)
    path = photo.with_suffix(".cotam")
    data = path.read_bytes()
    ends = [layer["bytes"] for layer in record["layers"]]
    assert [layer["quality"] for layer in record["layers"]] == [0, 2, 4.5]
    assert record["bytes"] == ends[-1] == len(data)
    assert np.cumsum([len(layer) for layer in split_layers(data)]).tolist() == ends
    alone = Bitstream.from_bytes(data[: ends[0]])
    assert read_layers(data)[0] == alone

    said = cli("encode", photo, "--layers", "0,2,4.5", "--dry-run", *named).err
    assert f"at quality 0, 2, 4.5 in {ends[0]}, {ends[1]}, {ends[2]} bytes" in said
    shown = cli("inspect", path, "--verify", *named).out
    assert "layer 3    quality 4.5, the whole picture" in shown
    assert f"total      {len(data)} bytes" in shown
    assert "those that were coded" in shown
    inspected = json.loads(cli("inspect", path, "--json").out)
    assert [layer["quality"] for layer in inspected["layers"]] == [2, 4.5]
    assert inspected["overhead"] < 3 * 24

    path.write_bytes(data[: ends[1]])
    assert cli("inspect", path, "--verify", *named).code == 0
    path.write_bytes(data[: ends[0]] + data[ends[1] :])
    skipped = cli("inspect", path, "--verify", *named)
    assert skipped.code == 1
    assert "continues a stream of check" in skipped.err


def test_cells_of_a_layer_are_counted(
    cli: Cli, coder: PictureCoder, draw: Draw, tmp_path: Path
) -> None:
    coded = coder.code(draw(256, 256))
    layer = coded.enhancement(Cells.at([(2, 3), (2, 4), (3, 3)], 256, 256), 6.0)
    path = tmp_path / "cells.cotam"
    path.write_bytes(coded.stream.to_bytes() + layer)
    assert "layer 2    quality 6, 3 of 64 cells of 32 pixels" in cli("inspect", path).out


@pytest.mark.parametrize("layers", ["2,2", "4,0", "one", "", "0,1,nan"])
def test_layers_that_are_no_rising_qualities_are_a_usage_error(
    cli: Cli, photo: Path, layers: str
) -> None:
    ended = cli("encode", photo, "--layers", layers)
    assert ended.code == 2
    assert "--layers" in ended.err


def test_layers_exclude_quality_and_budget(cli: Cli, photo: Path) -> None:
    for other in (("-q", "3"), ("--budget", "1500")):
        assert cli("encode", photo, "--layers", "0,2", *other).code == 2
    assert cli("encode", photo, "--layers", "0,9.5").code != 0


def test_a_stream_of_dear_bits_is_continued_as_well_as_any(coder: PictureCoder, draw: Draw) -> None:
    """A budget may have drawn more to zero: the base says in which intervals, or nothing."""
    analysed = coder.encoder.analyse(draw(120, 120), False)
    budgets = range(100, 400, 20)
    coded = (analysed.code_within_price(budget) for budget in budgets)
    stream, price = next(each for each in coded if each[1] > 2 * BIT_PRICE)
    errors = []
    for said in (price, UNKNOWN_PRICE):
        picture = CodedPicture(analysed, stream, said)
        layers = [Enhancement.from_bytes(picture.enhancement(None, quality)) for quality in (6, 8)]
        known = Known.read(stream, analysed.model, layers)
        errors.append(np.square(known.latent(analysed.model) - analysed.latent).mean())
        wanted = min(round(16 * price / BIT_PRICE), 255) if said else 0
        assert [layer.price_before for layer in layers] == [wanted, 0]
    assert errors[0] < 1.02 * errors[1]
