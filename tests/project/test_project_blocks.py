"""Blocks of code in the documents run beside a real server.

Those of docs/http.md print what the page says; those in Python elsewhere end without an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_client import EdgeClient

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/http.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```(bash|python)\n(.*?)^```\n(?:\n```(?:json|text)\n(.*?)^```\n)?", re.M | re.S
)
INDENTED = re.compile(
    r"(?:(?<=\n\n)|(?<=-->\n))((?: {4}(?:from|import) \w.*\n(?: {4}.*\n|\n(?= {4}))+)+)"
)
OTHERWISE = {"id", "image_id", "instance", "codec", "codecs", "bundles", "confidence"}
"""Fields that differ from run to run, or bundle to bundle; as numbers do."""
BETWEEN = "-- next block --"


def script() -> str:
    """All blocks of the page in one script, so that a later one has the variables of an earlier."""
    lines = ["set -euo pipefail", "COTAM_API_KEY=none"]
    for language, code, _ in BLOCK.findall(PAGE):
        lines.append(f"python3 - <<'PROGRAM'\n{code}PROGRAM" if language == "python" else code)
        lines.append(f"printf '\\n{BETWEEN}\\n'")
    return "\n".join(lines)


def shown(page: Any, printed: Any, name: str = "") -> bool:
    """Whether a part of an answer is as the page has it; answers may have more fields."""
    if isinstance(page, dict):
        return all(key in printed and shown(page[key], printed[key], key) for key in page)
    if isinstance(page, list) and name not in OTHERWISE:
        return len(page) == len(printed) and all(map(shown, page, printed))
    return name in OTHERWISE or isinstance(page, int | float) or page == printed


def values(text: str) -> list[Any]:
    """A whole text of JSON, or its lines, with what events hold."""
    with suppress(ValueError):
        return [json.loads(text)]
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line]
    return [json.loads(line) if line.startswith("{") else line for line in lines]


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
            assert shown(values(says), values(output)), (code, output)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/edge.md", "docs/places.md", "docs/five-minutes.md"]
)
def test_python_runs(
    page: str, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in INDENTED.findall(text)]
    blocks += [code for language, code, _ in BLOCK.findall(text) if language == "python"]
    assert blocks
    (tmp_path / "examples").mkdir()
    for example in (ROOT / "examples").glob("*.png"):
        shutil.copy(example, tmp_path / "examples")
    shutil.copy(ROOT / "examples/street.png", tmp_path)
    shutil.copy(ROOT / "examples/street.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    with Image.open("street.png") as picture:
        picture.load()
    with EdgeClient(server_url) as client:
        Path("street.cotam").write_bytes(client.encode("street.png").to_bytes())
    for block in blocks:
        exec(
            block.replace("http://127.0.0.1:8000", server_url),
            {"paths": ["street.png"], "picture": picture},
        )
