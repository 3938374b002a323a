"""Enhancements at the server: what they make of a decoded picture, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cloud_server import decode
from cloud_server.cli import cli
from cloud_server.decoding import continued
from cloud_server.inference.decoder import Decoder, device_of
from edge_client.coding.continuing import CodedPicture
from edge_client.coding.picture_coder import PictureCoder
from shared.bundle import Bundle
from shared.errors import EnhancementForeign, StreamForeign, UsageError
from shared.layers.cells import Cells
from tests.cloud.conftest import draw

SIZE = (200, 150)


@pytest.fixture(scope="module")
def decoder(continuing_bundle: Bundle) -> Decoder:
    return Decoder(continuing_bundle, device_of("cpu"))


@pytest.fixture
def coded(continuing_bundle: Bundle) -> CodedPicture:
    coder = PictureCoder(continuing_bundle, quality=0.5, resolution="native", threads=1)
    return coder.code(draw(*SIZE))


def test_what_was_asked_for_becomes_finer(decoder: Decoder, coded: CodedPicture) -> None:
    cells = Cells.at([(1, 2), (1, 3), (2, 2), (2, 3)], *SIZE)
    first = decoder.decode(coded.stream, keep=True)
    layers = [coded.enhancement(cells, 5.0), coded.enhancement(None, 2.0)]
    second = continued(first, layers[0], decoder)
    asked = cells.mask(*SIZE)
    assert set(second.codes[asked].tolist()) == {100}
    assert np.array_equal(second.codes[~asked], first.codes[~asked])
    assert torch.equal(second.latent[:, ~asked], first.latent[:, ~asked])
    picture = draw(*SIZE).astype(float)
    inside = np.s_[40:88, 72:120]
    errors = [np.square(each.picture[inside] - picture[inside]).mean() for each in (first, second)]
    assert errors[1] < errors[0] / 2
    third = continued(second, layers[1], decoder)
    assert (third.codes >= second.codes).all()
    assert third.bundle_id == first.bundle_id
    data = coded.stream.to_bytes() + b"".join(layers)
    assert np.array_equal(np.asarray(decode(data, bundles=[decoder.bundle.root])), third.picture)


def test_keeping_changes_nothing(decoder: Decoder, coded: CodedPicture) -> None:
    plain, kept = (decoder.decode(coded.stream, keep=keep) for keep in (False, True))
    assert torch.equal(plain.latent, kept.latent)
    assert np.array_equal(plain.picture, kept.picture)
    with pytest.raises(UsageError, match="not kept"):
        continued(plain, coded.enhancement(None, 4.0), decoder)


def test_what_does_not_continue_the_picture_is_refused(
    decoder: Decoder, coded: CodedPicture
) -> None:
    first = decoder.decode(coded.stream, keep=True)
    layer = coded.enhancement(None, 4.0)
    after = continued(first, layer, decoder)
    with pytest.raises(EnhancementForeign):
        continued(after, layer, decoder)
    with pytest.raises(StreamForeign, match="whole stream"):
        continued(first, coded.stream.to_bytes(), decoder)


def test_decode_takes_files_of_layers(
    decoder: Decoder, coded: CodedPicture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream, layer = coded.stream.to_bytes(), coded.enhancement(None, 4.0)
    pictures = []
    for data in (stream, stream + layer):
        Path("a.cotam").write_bytes(data)
        named = ["decode", "a.cotam", "--force", "--bundle", str(decoder.bundle.root)]
        assert CliRunner().invoke(cli, named).exit_code == 0
        pictures.append(Path("a.decoded.png").read_bytes())
    assert pictures[0] != pictures[1]
    Path("a.cotam").write_bytes(stream + layer[:-5])
    cut = CliRunner().invoke(cli, named)
    assert cut.exit_code == 1
    assert "cut or changed" in cut.output
