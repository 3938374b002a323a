"""The README's ways from nothing: each block run as it stands, in an empty environment.

README --blocks below `<!-- from nothing: NAME -->`--> clone of HEAD, new environment --> time, size

A line that starts a server stays until the way ends; the next line waits until it is ready.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import textwrap
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from shared.errors import UsageError

ROOT: Final = Path(__file__).parents[3]
BLOCK: Final = re.compile(r"^<!-- from nothing: ([\w ]+) -->\n\n((?: {4}.*\n)+)", re.M)
COMMENT: Final = re.compile(r"\s+# .*")
SERVER: Final = "cloud_server serve"
READY: Final = "http://127.0.0.1:8000/readyz"
START_S: Final = 300.0
INSTALLS: Final = ("pip ", "make ")
LAST_LINES: Final = 8
MOST_PRINTED: Final = 80  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--page", type=Path, default=ROOT / "README.md")
    parser.add_argument("--ways", nargs="+", help="names of blocks (default: those not tried yet)")
    parser.add_argument(
        "--replace",
        nargs="+",
        default=[],
        metavar="WORD=VALUE",
        help="what the page leaves open, such as photo.jpg=/home/me/sign.jpg",
    )


def main(arguments: argparse.Namespace) -> None:
    """Try each way and write the section. Needs git and a package index, and port 8000 free."""
    text = arguments.page.read_text(encoding="utf-8")
    replaced = dict(pair.split("=", 1) for pair in arguments.replace)
    ways = ways_of(text, replaced)
    records = Records(arguments.results / "first_steps.jsonl")
    for name in arguments.ways or ways:
        if name not in ways:
            raise UsageError(f"{arguments.page} has no block '{name}': it has {', '.join(ways)}")
        key = {"way": name, "lines": ways[name]}
        if arguments.ways or records.get(key) is None:
            records.add(key, tried(ways[name]))
    known = [
        (name, lines, records.get({"way": name, "lines": lines})) for name, lines in ways.items()
    ]
    body = report([(name, lines, value) for name, lines, value in known if value is not None])
    write_section(arguments.report, "first_steps", f"{command_line(arguments.words)}\n\n{body}")


def ways_of(page: str, replaced: Mapping[str, str]) -> dict[str, list[str]]:
    """Name of each way and its command lines, comments taken off and words replaced."""
    ways = {}
    for name, block in BLOCK.findall(page):
        for word, value in replaced.items():
            block = block.replace(word, value)
        lines = (COMMENT.sub("", line).strip() for line in block.splitlines())
        ways[name] = [line for line in lines if line]
    return ways


def tried(lines: list[str]) -> Fields:
    """Seconds of each line, bytes on the disk, and the last line that the last command printed.

    Raises UsageError with the last lines of output where a command fails.
    """
    with tempfile.TemporaryDirectory(prefix="cotam-from-nothing-") as folder:
        home, source = Path(folder, "env"), Path(folder, "cotam")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
        venv.create(home, with_pip=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COTAM_", "PYTHON"))}
        kept |= {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": folder}
        with runner(source, kept, Path(folder, "server.log")) as run:
            steps = [run(line) for line in lines]
        size = sum(f.lstat().st_size for f in Path(folder).rglob("*") if not f.is_dir())
    return {"seconds": [seconds for seconds, _ in steps], "bytes": size, "printed": steps[-1][1]}


@contextmanager
def runner(
    source: Path, environment: Mapping[str, str], log: Path
) -> Iterator[Callable[[str], tuple[float, str]]]:
    """Runs command lines in `source`; servers that they start end with the block."""
    servers: list[subprocess.Popen[bytes]] = []

    def run(line: str) -> tuple[float, str]:
        start = time.monotonic()
        if line.startswith(SERVER):
            with log.open("wb") as file:
                command = ["bash", "-c", f"exec {line}"]
                server = subprocess.Popen(
                    command, cwd=source, env=environment, stdout=file, stderr=file
                )
            servers.append(server)
            _wait_until_ready(server, log)
            return time.monotonic() - start, ""
        ended = subprocess.run(
            ["bash", "-c", line], cwd=source, env=environment, text=True, capture_output=True
        )
        if ended.returncode:
            last = "\n".join((ended.stdout + ended.stderr).splitlines()[-LAST_LINES:])
            raise UsageError(f"`{line}` ended with {ended.returncode}:\n{last}")
        said = ended.stdout.strip().splitlines()
        return time.monotonic() - start, said[-1] if said else ""

    try:
        yield run
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
            server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            if httpx.get(READY).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    last = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
    raise UsageError(f"the server did not become ready:\n{last}")


def report(ways: Sequence[tuple[str, list[str], Fields]]) -> str:
    """The section, of each way's name, lines, and what `tried` says of it."""
    rows = []
    for name, lines, value in ways:
        timed = zip(lines, value["seconds"], strict=True)
        installing = sum(seconds for line, seconds in timed if line.startswith(INSTALLS))
        total, size = sum(value["seconds"]), value["bytes"] / 1e9
        printed = excerpt(value["printed"])
        rows.append([name, f"{total:.0f} s", f"{installing:.0f} s", f"{size:.1f} GB", printed])
    head = ["way", "from clone to answer", "of it pip and make", "on the disk", "last line printed"]
    return table(head, rows)


def excerpt(printed: str) -> str:
    """What a cell holds of a printed line: of an answer in JSON what it says and what was seen."""
    if printed.startswith("{"):
        answer = json.loads(printed)
        return f"{answer['answer']} (view: {answer['view']})"
    return textwrap.shorten(printed.replace("`", ""), MOST_PRINTED, placeholder=" ...")
