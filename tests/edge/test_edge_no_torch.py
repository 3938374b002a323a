"""The edge runs without torch and without constriction, and starts without what can wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from edge_client import settings

ROOT = Path(__file__).parents[2]
SERVICE = "torch, torchvision, transformers, open_clip, compressai, fastapi, starlette"

REFUSING = """
import sys
REFUSED = {name.strip() for name in %r.split(",")}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ImportError(f"the edge must not import {name}")
sys.meta_path.insert(0, Refuse())
from edge_client.__main__ import main
sys.argv = ["edge_client", *sys.argv[1:]]
main()
"""
WITHOUT = REFUSING % SERVICE


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


def test_coding_without_constriction_is_the_same(photo: Path, tmp_path: Path) -> None:
    streams = []
    for name, refused in (("with", SERVICE), ("without", f"{SERVICE}, constriction")):
        stream = tmp_path / f"{name}.cotam"
        coded = run(REFUSING % refused, "encode", photo, "-o", stream, "--quality", "4")
        assert coded.returncode == 0, coded.stderr
        streams.append(stream.read_bytes())
    assert streams[0] == streams[1]
    seen = run(
        REFUSING % f"{SERVICE}, constriction", "inspect", tmp_path / "with.cotam", "--verify"
    )
    assert seen.returncode == 0, seen.stderr
    assert "verified" in seen.stdout


def test_the_proxy_says_what_the_base_install_lacks() -> None:
    code = """
import sys
sys.modules["starlette"] = sys.modules["uvicorn"] = None
from edge_client.__main__ import main
sys.argv = ["edge_client", "proxy"]
main()
"""
    ended = run(code)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: the proxy needs starlette, which is not installed")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("system", "machine", "wanted"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", False),
        ("linux", "armv7l", False),
        ("darwin", "arm64", True),
        ("win32", "AMD64", True),
        ("win32", "ARM64", False),
    ],
)
def test_constriction_is_asked_for_where_it_has_wheels(
    system: str, machine: str, wanted: bool
) -> None:
    toml = settings._parse(Path("pyproject.toml"), (ROOT / "pyproject.toml").read_bytes())
    (line,) = [name for name in toml["project"]["dependencies"] if "constriction" in name]
    marker = Requirement(line).marker
    assert marker is not None
    assert marker.evaluate({"sys_platform": system, "platform_machine": machine}) is wanted


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_starting_imports_nothing_heavy(flag: str) -> None:
    code = """
import sys
from edge_client.__main__ import main
sys.argv = ["edge_client", sys.argv[1]]
try:
    main()
except SystemExit:
    pass
heavy = {"numpy", "onnxruntime", "httpx", "PIL", "pydantic", "constriction"}
if sys.argv[1] == "--version":
    heavy |= {"typer", "rich", "concurrent.futures"}
heavy &= set(sys.modules)
assert not heavy, heavy
"""
    completed = run(code, flag)
    assert completed.returncode == 0, completed.stderr
    assert "edge_client" in completed.stdout


def test_the_server_s_command_says_what_the_base_install_lacks() -> None:
    code = """
import sys
sys.modules["pydantic_settings"] = None
from cloud_server.__main__ import main
main()
"""
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert completed.returncode == 2
    assert completed.stderr.startswith("error: the server needs pydantic_settings")
    assert completed.stderr.count("\n") == 1
