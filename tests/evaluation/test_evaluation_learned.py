"""CompressAI's models: real bytes and back, weights from torch.hub's folder or a clear line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.codecs import compressai_zoo as learned
from evaluation.codecs.compressai_zoo import ZooModel, find_learned, missing_weights
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.pictures import picture_set
from evaluation.commands.pictures import codec
from evaluation.commands.service.bench import mosaic
from evaluation.machine import arithmetic
from evaluation.report.records import Records
from shared.bundle import Bundle
from shared.errors import UsageError

NAME = "bmshj2018-factorized"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """torch.hub's folder of weights, empty; nothing is fetched."""
    published = learned._urls()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    urls = {q: f"file:///nowhere/{Path(url).name}" for q, url in published[NAME]["mse"].items()}
    monkeypatch.setitem(published, NAME, {"mse": urls})
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    learned.published.cache_clear()
    yield folder
    learned.published.cache_clear()


def put(hub: Path, quality: int) -> None:
    """Weights under the name under which CompressAI publishes that quality."""
    url = learned._urls()[NAME]["mse"][quality]
    torch.save(learned.untrained(NAME, quality).state_dict(), hub / Path(url).name)


def test_models_are_found_by_name() -> None:
    models = find_learned("bmshj2018_factorized, mbt2018-mean,cheng2020_anchor")
    assert [model.name for model in models] == [NAME, "mbt2018-mean", "cheng2020-anchor"]
    assert [len(model.ladder) for model in models] == [8, 8, 6]
    assert find_learned("") == []
    with pytest.raises(UsageError, match=r"no model elic.*it has.*mbt2018"):
        find_learned("mbt2018,elic")


def test_a_file_comes_back(hub: Path) -> None:
    put(hub, 1)
    model = ZooModel(NAME, (1,))
    assert missing_weights(model) is None
    picture = mosaic(80)[:, :70]
    file = model.encode(picture, 1)
    back = model.decode(file)
    assert back.shape == picture.shape
    assert back.dtype == np.uint8
    assert file == model.encode(picture, 1)


def test_absent_weights_are_named(hub: Path) -> None:
    put(hub, 1)
    reason = missing_weights(ZooModel(NAME, (1, 2)))
    assert reason is not None
    assert f"{NAME}, quality 2, cannot be loaded" in reason
    assert "bmshj2018-factorized-prior-2-87279a02.pth.tar" in reason


def test_their_curve_stands_beside_ours(hub: Path, bundle: Bundle, tmp_path: Path) -> None:
    put(hub, 1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(mosaic(176)).save(folder / "one.png")
    records = Records(tmp_path / "codec.jsonl")
    peers = [ZooModel(NAME, (1,))]
    points = codec.measure(CotamCodec(bundle), picture_set(folder), [3.0], False, records, peers)
    assert set(points) == {"ours", NAME}
    assert points[NAME][1][0]["bpp"] > 0
    codec.draw(points, picture_set(folder), tmp_path / "plot.png")


def test_multiply_adds_grow_with_the_picture(bundle: Bundle) -> None:
    small, large = (arithmetic.multiply_adds(bundle, side, side) for side in (512, 1024))
    for stage in ("analysis", "coding", "entropy", "synthesis"):
        assert large[stage] == pytest.approx(4 * small[stage])
    assert large["guidance"] == 5 * small["guidance"]
    assert small["entropy"] < small["coding"] < small["analysis"] < small["synthesis"]
    assert arithmetic.rate() > 0
