"""Level maps of many kinds, and small runs of the two tables that compare them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_client.guidance.guide import pool
from evaluation.__main__ import main
from evaluation.codecs.cotam import CotamCodec
from evaluation.commands.models import ablations, guidance
from evaluation.towers.attention import Tower
from evaluation.towers.level_maps import Guiding, attention_of, parse_guiding
from evaluation.towers.load import load_tower
from scenes import Backgrounds, Scene, render
from shared.bundle import ADAPTER, MLLM, Bundle
from shared.errors import UsageError
from shared.nets.adapter import LatentAdapter, load_adapter
from training.tower.runs import adapter_info


@pytest.fixture(scope="module")
def tower(bundle: Bundle) -> Tower:
    return load_tower(str(bundle.path(MLLM)))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render("test", 1, Backgrounds())


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str) -> str:
    page = tmp_path / "docs" / "results.md"
    more = ["--report", str(page), "--results", str(tmp_path / "runs"), "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["evaluation", *words, *more])
    main()
    return page.read_text()


def test_the_towers_first_layers_are_what_the_edge_runs(
    bundle: Bundle, tower: Tower, scene: Scene
) -> None:
    attention = attention_of(tower, scene.picture)
    assert attention.shape == (tower.layers, 16, 16)
    importance, _ = CotamCodec(bundle).encoder.guide(scene.picture)
    cells, edge_cells = (pool(each, (8, 8)) for each in (attention[:3].mean(axis=0), importance))
    # The graph of the edge has 8 bits.
    assert cells == pytest.approx(edge_cells, abs=4e-2 * edge_cells.max())
    usual = guidance.usual_of(bundle)
    level_map = CotamCodec(bundle).analyse(scene.picture, True).level_map
    assert level_map is not None
    assert (usual.level_map(attention, scene.picture).values == level_map.values).mean() > 0.9


def test_each_setting_makes_the_map_that_it_names(scene: Scene) -> None:
    attention = np.random.default_rng(0).gamma(0.1, size=(6, 16, 16)).astype(np.float32)
    for guiding in (Guiding(), Guiding(cell=16, levels=5, step=10), Guiding(layers=(6,))):
        level_map = guiding.level_map(attention, scene.picture)
        assert (level_map.cell, level_map.levels, level_map.step) == (
            guiding.cell,
            guiding.levels,
            guiding.step,
        )
        assert level_map.values.shape == (256 // guiding.cell,) * 2
    three, two = (
        Guiding((1,), 16, levels, k).level_map(attention, scene.picture).values
        for levels, k in ((3, 0.75), (2, 0.0))
    )
    assert not (three == 0).any()  # a mean below 0.75 deviations: nothing lies under mu - k sigma
    np.testing.assert_array_equal(two == 1, attention[0] >= attention[0].mean())


def test_settings_are_read_from_text() -> None:
    usual = Guiding(step=20)
    assert parse_guiding("layers=1,4 cell=16 k=0.5", usual) == Guiding((1, 4), 16, 3, 0.5, 20)
    for wrong in (
        "cells=16",
        "scale=log",
        "levels=4",
        "cell=64",
        "step=32",
        "k=much",
        "k",
        "k=1=2",
    ):
        with pytest.raises(UsageError, match="no level map"):
            parse_guiding(wrong, usual)


def test_all_that_is_asked_for_is_compared(bundle: Bundle) -> None:
    groups = guidance.level_maps(bundle, 6)
    layers = [guiding.layers for guiding in groups["layers"]]
    assert layers == [*((n,) for n in range(1, 7)), (1, 2, 3), (3, 4), (5, 6)]
    assert len({(g.cell, g.levels, g.k) for g in groups["grid"]}) >= 12
    assert all(guidance.usual_of(bundle) in group for group in groups.values())
    names = [str(guiding) for group in groups.values() for guiding in group]
    assert len(set(names)) == len({g for group in groups.values() for g in group})


def test_a_small_run_writes_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["guidance", "--pictures", "1", "--qualities", "2", "--only"]
    words += ["--also", "step=30", "cell=16 step=20"]
    page = run(monkeypatch, tmp_path, *words)
    assert "layers 1,2,3; 16 px; 2 levels" in page
    before = (tmp_path / "runs" / "scenes.jsonl").read_bytes()
    assert run(monkeypatch, tmp_path, *words) == page
    assert (tmp_path / "runs" / "scenes.jsonl").read_bytes() == before


def test_each_part_is_left_out(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = load_adapter(bundle.path(ADAPTER))
    checkpoint = adapter_run(adapter, tmp_path / "trained otherwise")
    words = ["ablations", "--pictures", "1", "--qualities", "2"]
    words += ["--adapter", f"low loss only={checkpoint}"]
    alone = adapter_run(adapter, tmp_path / "trained alone", prior=False)
    page = run(monkeypatch, tmp_path, *words, "--adapter", f"alone={alone}")
    assert all(f"| {name} |" in page for name in ablations.PARTS.values())
    values = {
        record["key"]["codec"]: record["value"]
        for record in map(json.loads, (tmp_path / "runs" / "scenes.jsonl").read_text().splitlines())
        if "codec" in record["key"]
    }
    (other,) = (name for name in values if name.startswith("adapter low loss only"))
    assert "| adapter: low loss only |" in page
    (blind,) = (name for name in values if name.startswith("adapter alone"))
    no_prior = values[ablations.NO_PRIOR]["probable"]
    assert values[blind]["probable"] == pytest.approx(no_prior, abs=2e-3)
    # It is the bundle's own adapter that was stored as a run.
    assert values[other]["bytes"] == values["full"]["bytes"]
    assert values[other]["probable"] == pytest.approx(values["full"]["probable"], abs=2e-3)
    assert no_prior != values["full"]["probable"]


def adapter_run(adapter: LatentAdapter, folder: Path, prior: bool = True) -> Path:
    """A run of `training tower` with these weights, as far as its adapter is read."""
    folder.mkdir()
    info = {**adapter_info(adapter.config), "prior": prior}
    average = {f"adapter.{name}": tensor for name, tensor in adapter.state_dict().items()}
    torch.save({"info": info, "average": average}, folder / "checkpoint.pt")
    return folder


def test_what_cannot_be_left_out_is_said(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UsageError, match="no adapter run"):
        ablations.adapter_variant(bundle, "low", tmp_path / "nowhere", tmp_path / "one")
    root = tmp_path / "bare"
    root.mkdir()
    shutil.copy(bundle.root / "manifest.json", root)
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["files"]["adapter.safetensors"]
    (root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "ablations", "--bundle", str(root))
    assert "has no adapter" in capsys.readouterr().err
