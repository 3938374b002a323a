"""The edge opens no socket but the server's, starts no program, and leaves no file but its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STRACE = shutil.which("strace")

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n{ } loop\n%%EOF\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A new user's home."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def cold(home: Path, *words: str | Path, path: str = "", trace: Path | None = None) -> Any:
    """`edge_client` in a process of its own, as a user with that home starts it first."""
    command: list[str | Path] = [sys.executable, "-m", "edge_client", *words]
    if trace is not None:
        assert STRACE is not None
        watched = "trace=socket,connect,execve,open,openat,creat"
        command = [STRACE, "-f", "-qq", "-s", "200", "-e", watched, "-o", trace, *command]
    environment = {
        "HOME": str(home),
        "PATH": path + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_cold_encode_leaves_nothing_but_its_stream(home: Path, photo: Path) -> None:
    completed = cold(home, "encode", photo)
    assert completed.returncode == 0, completed.stderr
    assert files(home.parent) == ["photo.cotam", "photo.png"]


def test_a_cold_answer_leaves_nothing(home: Path, photo: Path, server: Any) -> None:
    completed = cold(home, "send", photo, "how large?", "--server", server.url)
    assert (completed.returncode, completed.stdout) == (0, "256 by 160\n"), completed.stderr
    assert files(home.parent) == ["photo.png"]


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_what_a_cold_encode_asks_of_the_system(home: Path, photo: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    completed = cold(home, "encode", photo, trace=trace)
    assert completed.returncode == 0, completed.stderr
    calls = trace.read_text()
    assert "socket(" not in calls
    assert calls.count("execve(") == 1
    assert {place for place in written(calls) if not place.startswith("/dev/")} == {
        str(tmp_path / f".photo.cotam.{process(calls)}")  # renamed into place
    }


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_what_a_cold_answer_asks_of_the_system(
    home: Path, photo: Path, server: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    completed = cold(home, "send", photo, "how large?", "--server", server.url, trace=trace)
    assert completed.returncode == 0, completed.stderr
    calls = trace.read_text()
    port = server.url.rsplit(":", 1)[1]
    assert set(re.findall(r"connect\((.*)\) = ", calls))
    for address in re.findall(r"connect\(\d+, (\{.*?\})", calls):
        assert f"htons({port})" in address
        assert 'inet_addr("127.0.0.1")' in address
    assert calls.count("execve(") == 1
    assert {place for place in written(calls) if not place.startswith("/dev/")} == set()


def written(calls: str) -> set[str]:
    """Files that were opened for writing."""
    opened = re.findall(r'(?:open|openat|creat)\((?:AT_FDCWD, )?"(.*?)", (.*?)\) = \d', calls)
    return {place for place, flags in opened if "O_WRONLY" in flags or "O_RDWR" in flags}


def process(calls: str) -> str:
    return calls.split(maxsplit=1)[0]


@pytest.mark.parametrize("head", [b"", b"\xc5\xd0\xd3\xc6\x20\0\0\0\x40\0\0\0" + bytes(20)])
def test_no_program_is_started_for_a_picture(head: bytes, home: Path, tmp_path: Path) -> None:
    """PostScript under a camera's name; a stand-in for Ghostscript tells whether it was run."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin64c", "djpeg"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (programs / name).chmod(0o755)
    picture = tmp_path / "latest.jpg"
    picture.write_bytes(head + POSTSCRIPT)
    completed = cold(home, "encode", picture, path=f"{programs}:")
    assert completed.returncode == 3
    assert completed.stderr.startswith(
        f"error: {picture} is not a picture in a format that can be read"
    )
    assert not (tmp_path / "started").exists()
