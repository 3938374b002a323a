"""Blocks of code in the documents run beside a real server.

Those of docs/http.md print what the page says; those in Python elsewhere end without an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/http.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```(bash|python)\n(.*?)^```\n(?:\n```(?:json|text)\n(.*?)^```\n)?", re.M | re.S
)
PYTHON = re.compile(
    r"(?:(?<=\n\n)|(?<=-->\n))((?: {4}(?:from|import) .*\n(?: {4}.*\n|\n(?= {4}))+)+)"
)
BETWEEN = "-- next block --"


def script() -> str:
    """All blocks of the page in one script, so that a later one has the variables of an earlier."""
    lines = ["set -euo pipefail", "COTAM_API_KEY=none"]
    for language, code, _ in BLOCK.findall(PAGE):
        lines.append(f"python3 - <<'PROGRAM'\n{code}PROGRAM" if language == "python" else code)
        lines.append(f"printf '\\n{BETWEEN}\\n'")
    return "\n".join(lines)


def stable(printed: str) -> str:
    """Without what differs from run to run, bundle to bundle and by layout."""
    printed = re.sub(r'"(id|image_id|instance)":\s*"[^"]*"', r'"\1":""', printed)
    printed = re.sub(r'"[0-9a-f]{8}"', '"00000000"', printed)
    printed = re.sub(r":\s*\d+(\.\d+)?", ":0", printed)
    return re.sub(r"\s+", "", printed)


def test_each_block_prints_what_the_page_says(server_url: str, tmp_path: Path) -> None:
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    pytest.importorskip("openai")
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == PAGE.count("```bash") + PAGE.count("```python") > 8
    assert {language for language, _, _ in blocks} == {"bash", "python"}
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    for name, words in {"python3": "", "edge_client": "-m edge_client "}.items():
        wrapper = tmp_path / "bin" / name
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        wrapper.chmod(0o755)
    ended = subprocess.run(
        ["bash", "-c", script().replace("http://127.0.0.1:8000", server_url)],
        cwd=tmp_path,
        env={
            "HOME": str(tmp_path),
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "no_proxy": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    printed = ended.stdout.split(f"\n{BETWEEN}\n")[:-1]
    assert len(printed) == len(blocks)
    for (_, code, says), output in zip(blocks, printed, strict=True):
        assert output.strip() or "encode" in code, code
        if says:
            assert stable(output) == stable(says), code


@pytest.mark.parametrize(("page", "count"), [("docs/edge.md", 1), ("docs/places.md", 1)])
def test_python_runs(
    page: str, count: int, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = PYTHON.findall((ROOT / page).read_text(encoding="utf-8"))
    assert len(blocks) == count
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples/street.png", tmp_path)
    with Image.open("street.png") as picture:
        picture.load()
    names = {"paths": ["street.png"], "picture": picture}
    subprocess.run(
        [sys.executable, "-m", "edge_client", "encode", "street.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    for block in blocks:
        exec(textwrap.dedent(block).replace("http://127.0.0.1:8000", server_url), dict(names))
