"""The edge runs where there is no torch, and starts without what it does not need yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REFUSED = "torch, torchvision, transformers, open_clip, compressai, fastapi, starlette"

WITHOUT = f"""
import sys
REFUSED = {{name.strip() for name in {REFUSED!r}.split(",")}}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ImportError(f"the edge must not import {{name}}")
sys.meta_path.insert(0, Refuse())
from edge_client.__main__ import main
sys.argv = ["edge_client", *sys.argv[1:]]
main()
"""


def run(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_encode_and_inspect_without_torch(photo: Path, tmp_path: Path) -> None:
    stream = tmp_path / "photo.cotam"
    coded = run(WITHOUT, "encode", photo, "-o", stream)
    assert coded.returncode == 0, coded.stderr
    seen = run(WITHOUT, "inspect", stream, "--verify", "--map", tmp_path / "map.png")
    assert seen.returncode == 0, seen.stderr
    assert "verified" in seen.stdout


def test_send_without_torch(photo: Path, server: Any) -> None:
    url = server.url
    asked = run(WITHOUT, "send", photo, "how large?", "--server", url)
    assert (asked.returncode, asked.stdout) == (0, "256 by 160\n"), asked.stderr


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_starting_imports_nothing_heavy(flag: str) -> None:
    code = """
import sys
from edge_client.__main__ import main
sys.argv = ["edge_client", sys.argv[1]]
try:
    main()
except SystemExit:
    heavy = {"numpy", "onnxruntime", "httpx", "PIL", "pydantic", "constriction"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = run(code, flag)
    assert done.returncode == 0, done.stderr
    assert "edge_client" in done.stdout
