"""What libraries do on their own is switched off in one place, which nothing goes around."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge_client", "cloud_server", "shared", "scenes", "training", "evaluation", "examples")


def nodes(*folders: str) -> Iterator[tuple[Path, ast.AST]]:
    """Every node of every Python file of some folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                yield path, node


def test_onnxruntime_is_imported_in_one_place() -> None:
    for path, node in nodes(*PACKAGES, "tests"):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        assert not any(name.split(".")[0] == "onnxruntime" for name in names), path


def test_pictures_are_opened_with_the_formats_that_are_meant() -> None:
    calls = [
        (path, node)
        for path, node in nodes(*PACKAGES)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    assert calls
    for path, call in calls:
        assert "formats" in [keyword.arg for keyword in call.keywords], path


@pytest.mark.parametrize("said", [None, "0"])
def test_telemetry_is_off_whatever_the_environment_says(said: str | None, tmp_path: Path) -> None:
    """Its device id and database would lie below HOME."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    if said is not None:
        environment["ORT_DISABLE_TELEMETRY"] = said
    code = "from shared.libraries import import_onnxruntime as o; o().SessionOptions()"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.rglob("*")) == []
