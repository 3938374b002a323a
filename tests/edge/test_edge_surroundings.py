"""Whatever a user's environment does ends in one line and an exit code, and nothing is half there.

Each run is a process of its own: what is tested is what only a process has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")

Words = list[str | Path]
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@pytest.fixture
def stream(photo: Path, cli: Callable[..., Any]) -> Path:
    assert cli("encode", photo, "--quiet").code == 0
    return photo.with_suffix(".cotam")


def commands(photo: Path, stream: Path, server: Any) -> dict[str, Words]:
    """Everything that prints data."""
    return {
        "help": ["--help"],
        "help of a command": ["encode", "--help"],
        "version": ["--version"],
        "encode": ["encode", photo, "-o", "-"],
        "encode json": ["encode", photo, "--json"],
        "inspect": ["inspect", stream],
        "map": ["map", photo, "--json"],
        "config": ["config"],
        "bench": ["bench", photo, "--repeat", "1"],
        "spool": ["spool", "list", "--json"],
        "bundle": ["bundle", "list"],
        "send": ["send", photo, "how large?", "--server", server.url],
    }


NAMES = list(commands(Path(), Path(), type("", (), {"url": ""})))


def run(words: Words, home: Path, redirect: str = "", code: str = "", **more: str) -> Any:
    """`edge_client` started by a shell, with what it redirects."""
    start = ["-c", code] if code else ["-m", "edge_client"]
    command = [sys.executable, *start, *map(str, words)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), **more}
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *command],
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        check=False,
        timeout=120,
    )


def one_line(ended: Any) -> str:
    text: str = ended.stderr.decode()
    assert text.startswith("error: "), text
    assert text.count("\n") == 1, text
    return text


@needs_full
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_behind_standard_output(
    name: str, photo: Path, stream: Path, server: Any, tmp_path: Path
) -> None:
    if name == "spool":
        job = ["send", photo, "?", "--server", "http://127.0.0.1:9", "--retries", "0"]
        assert run(job, tmp_path).returncode == 4
    ended = run(commands(photo, stream, server)[name], tmp_path, ">/dev/full")
    assert ended.returncode == 1
    lines = ended.stderr.decode().splitlines()
    assert lines[-1].startswith("error: ")
    assert lines[-1].endswith("output cannot be written: No space left on device")
    assert not any("Traceback" in line for line in lines)


@needs_full
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-"])
def test_nobody_listens_to_talk(redirect: str, photo: Path, tmp_path: Path) -> None:
    """The work is done, and its exit code says so; errors keep theirs."""
    ended = run(["encode", photo, "-o", tmp_path / "x.cotam"], tmp_path, redirect)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert (tmp_path / "x.cotam").stat().st_size > 100
    ended = run(["encode", tmp_path / "none.png"], tmp_path, redirect)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"", b"")


@pytest.mark.parametrize("name", ["version", "encode", "config", "inspect"])
def test_a_reader_that_left(
    name: str, photo: Path, stream: Path, server: Any, tmp_path: Path
) -> None:
    words = commands(photo, stream, server)[name]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "edge_client", *map(str, words)],
            env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_closed_streams(photo: Path, stream: Path, tmp_path: Path) -> None:
    """What is printed goes into no file that was opened in the place of a closed stream."""
    ended = run(["encode", photo, "-o", "-"], tmp_path, ">&-")
    assert ended.returncode == 1
    assert "standard output cannot be written" in one_line(ended)
    ended = run(["encode", "-"], tmp_path, "<&-")
    assert ended.returncode == 3
    assert "standard input is empty" in one_line(ended)
    place = tmp_path / "y.cotam"
    assert run(["encode", photo, "-o", place, "--json"], tmp_path, "<&- >&- 2>&-").returncode == 1
    assert place.read_bytes() == stream.read_bytes()


def test_a_pipe_is_written_to_and_a_link_stays(photo: Path, stream: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run(["encode", photo, "-o", pipe], tmp_path).returncode == 0
    reader.join(60)
    assert read == [stream.read_bytes()]
    assert pipe.is_fifo()
    (tmp_path / "kept.cotam").write_bytes(b"old")
    link = tmp_path / "link.cotam"
    link.symlink_to("kept.cotam")
    assert run(["encode", photo, "-o", link], tmp_path).returncode == 0
    assert link.is_symlink()
    assert (tmp_path / "kept.cotam").read_bytes() == stream.read_bytes()


def test_a_picture_through_a_pipe_that_has_a_name(photo: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "camera.png"
    os.mkfifo(pipe)
    data = photo.read_bytes()
    threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True).start()
    ended = run(["encode", pipe, "-o", tmp_path / "x.cotam"], tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("words", [["encode"], ["map"], ["encode", "--json"]])
def test_a_folder_that_takes_no_files(words: Words, photo: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    ended = run([*words, photo, "-o", "/proc/x"], tmp_path)
    assert ended.returncode == 2
    assert "/proc/x cannot be written" in one_line(ended)
    assert sorted(tmp_path.rglob("*")) == before


NOBODY = """
import pwd, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown  # a user id that no file of users knows, as containers have it
from edge_client.__main__ import main
sys.argv = ["edge_client", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (["config", "server", "http://a"], "XDG_CONFIG_HOME"),
        (["bundle", "list"], "XDG_CACHE_HOME"),
        (["spool", "list"], "XDG_STATE_HOME"),
    ],
)
def test_a_user_without_a_home(words: Words, variable: str, tmp_path: Path) -> None:
    ended = run(words, tmp_path, code=NOBODY, HOME="")
    assert ended.returncode == 2
    assert f"there is no home directory (set HOME or {variable})" in one_line(ended)


def test_encoding_needs_no_home(photo: Path, tmp_path: Path) -> None:
    place = tmp_path / "x.cotam"
    ended = run(["encode", photo, "-o", place], tmp_path, code=NOBODY, HOME="")
    assert ended.returncode == 0, ended.stderr
    assert place.exists()


def test_a_locale_that_knows_no_letters(photo: Path, tmp_path: Path) -> None:
    picture = tmp_path / "nötig ☂.png"
    picture.write_bytes(photo.read_bytes())
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = run(["encode", picture, "--json"], tmp_path, **plain)
    assert ended.returncode == 0, ended.stderr
    assert picture.with_suffix(".cotam").exists()


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"server = 3", b"server", b"sever = 'x'"])
def test_a_config_file_of_no_use(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(raw)
    ended = run(["config"], tmp_path, COTAM_CONFIG=str(path))
    assert ended.returncode == 2
    assert str(path) in one_line(ended)


def test_a_config_file_that_cannot_be_read(tmp_path: Path) -> None:
    ended = run(["config"], tmp_path, COTAM_CONFIG=str(tmp_path))
    assert ended.returncode == 2
    assert "cannot be read" in one_line(ended)
