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
PACKAGES = (
    *("edge_client", "cloud_server", "shared", "scenes"),
    *("training", "evaluation", "plugins", "examples"),
)
RUNTIME = {"onnxruntime", "rapidocr_onnxruntime"}
"""Itself, and what imports it."""


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
        assert not RUNTIME & {name.split(".")[0] for name in names}, path


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


def test_the_server_s_threads_sleep_while_they_wait() -> None:
    """As OpenMP itself says, once torch has loaded it."""
    code = """
import sys
from cloud_server.__main__ import main
sys.argv = ["cloud_server", "--version"]
try:
    main()
except SystemExit:
    import torch
"""
    environment = {name: value for name, value in os.environ.items() if "OMP" not in name}
    environment |= {"OMP_DISPLAY_ENV": "TRUE", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    if "OMP_WAIT_POLICY" not in ended.stderr:
        pytest.skip("this torch brings no OpenMP that tells its settings")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ended.stderr
