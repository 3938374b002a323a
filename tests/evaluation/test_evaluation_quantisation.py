"""What quantisation costs: the ways differ in what they say they do, and the table is written."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.commands.models import quantisation
from evaluation.report.records import Records
from shared.bundle import ADAPTER, Bundle
from shared.errors import UsageError
from shared.nets.adapter import load_adapter


def test_weights_of_eight_bits_are_few_and_near(bundle: Bundle) -> None:
    exact, rounded = (load_adapter(bundle.path(ADAPTER)) for _ in range(2))
    quantisation.round_weights(rounded)
    for before, after in (
        (exact.enter.weight, rounded.enter.weight),
        (exact.blocks[0].self_attn.in_proj_weight, rounded.blocks[0].self_attn.in_proj_weight),
    ):
        assert not torch.equal(before, after)
        step = before.abs().amax(dim=1, keepdim=True) / 127
        assert bool(((before - after).abs() <= 0.51 * step).all())
        assert max(len(row.unique()) for row in after) <= 255


def test_a_small_run_writes_the_tables(tmp_path: Path) -> None:
    arguments = argparse.Namespace(
        pictures=1,
        qualities=[0.0, 3.0],
        bundle="tiny",
        threads=1,
        edge_float=None,
        pages=0,
        report=tmp_path / "results.md",
        results=tmp_path / "runs",
        words=("quantisation", "--pictures", "1"),
    )
    quantisation.main(arguments)
    written = arguments.report.read_text()
    for name in ("plain rounding", "dead zones, 0.06 a bit", "decoder in float32"):
        assert f"| {name} |" in written
    sizes = {
        key["codec"].removeprefix("quantisation; "): value["bytes"]
        for key, value in Records(tmp_path / "runs" / "scenes.jsonl")
        if key.get("quality") == 3.0
    }
    rising = [sizes[name] for name in ("dead zones, 0.1 a bit", "as it ships", "plain rounding")]
    assert np.diff(rising).min() > 0, "a dearer bit makes a smaller stream"
    assert sizes["decoder in float32"] == sizes["as it ships"]


def test_print_is_read_again_by_way(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantisation, "PAGE_SIDE", 192)
    monkeypatch.setattr(quantisation, "READ_AT", (6.0,))
    ways = quantisation.Ways(bundle, None, b"")
    ways.names = [quantisation.AS_IT_IS, "plain rounding"]
    arguments = argparse.Namespace(pages=1, threads=1, results=tmp_path)
    written = quantisation.print_read(ways, arguments)
    assert "Print: 1 pages of the test split at 192 pixels" in written
    sizes = {
        key["codec"]: value["bytes"]
        for key, value in Records(tmp_path / "reading.jsonl")
        if "quality" in key
    }
    assert sizes["quantisation; plain rounding"] > sizes["quantisation; as it ships"]


def test_edge_graphs_of_another_codec_are_refused(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="another codec"):
        quantisation.Ways(bundle, "tiny-joint", b"")
