"""The notebook: every cell runs, in its order, as a fresh kernel would run it."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def cells(kind: str) -> Iterator[dict[str, Any]]:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == kind:
            yield cell


def ran(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; what its last expression gives, as a notebook shows it."""
    tree = ast.parse(source)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    if isinstance(shown, ast.Expr):
        return eval(compile(ast.Expression(shown.value), str(NOTEBOOK), "eval"), names)
    return None


def test_every_cell_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    try:
        shown = [ran("".join(cell["source"]), names) for cell in cells("code")]
    finally:
        if "running" in names:
            names["running"].close()
    (picture,) = [output for output in shown if isinstance(output, Image.Image)]
    assert picture.size == (256, 256)
    said = capsys.readouterr().out
    assert "2 - adapter - " in said
    assert "street.png yes" in said
    assert "2 pictures in one question" in said


def test_it_holds_no_results_that_grow_old() -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells("code"))
