"""What the road of foreign towers costs: the table, of measurements that are there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evaluation import __main__ as evaluation
from evaluation.report.records import Records
from shared.bundle import Bundle


def test_what_was_measured_is_not_measured_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(tmp_path / "towers.jsonl")
    key = {"kind": "clip", "small": True, "minutes": 2.0, "batch": 8, "resolution": 96}
    costs = {"coding": 0.11, "step": 0.02, "memory": 1.0, "views": 3, "steps": 40}
    costs |= {"guidance_mb": 0.2, "guidance_ms": 1.4, "adapter_mb": 0.04, "vision_ms": 25}
    spec = bundle.manifest.tower.model_dump(mode="json")
    records.add(key, {**costs, "answer_ms": 195, "gains": [-0.1, -0.05, 0.01], "spec": spec})
    report = tmp_path / "report.md"
    words = ["evaluation", "towers", "--small", "--classes", "clip", "--minutes", "2"]
    words += ["--batch", "8", "--results", str(tmp_path), "--report", str(report)]
    monkeypatch.setattr(sys, "argv", words)
    evaluation.main()
    text = report.read_text()
    costs_told = "| clip | 192 wide, 16x16 | 3 | 0.1 | 0.0 | 1.0 | 0.2 | 1 | 0.0 | 25 | 195 |"
    assert f"{costs_told} 40 | 2.67 | -10.0, -5.0, +1.0 |" in text
    assert "`python -m evaluation towers --small --classes clip --minutes 2 --batch 8`" in text
