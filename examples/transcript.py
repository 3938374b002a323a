"""The transcript of docs/session.md: real commands, a real server, what they print.

python -m examples.transcript            prints it
python -m examples.transcript --write    puts it into the page, between its two markers
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from examples.demo import FOLDER
from examples.serving import serving

PAGE: Final = FOLDER.parent / "docs/session.md"
BEGIN: Final = "<!-- transcript:begin -->"
END: Final = "<!-- transcript:end -->"
SHOWN_URL: Final = "http://127.0.0.1:8000"  # the default, whatever port was free
# The checkout's own, whether or not it is installed.
EDGE_CLIENT: Final = f'edge_client() {{ {shlex.quote(sys.executable)} -m edge_client "$@"; }}'
ALONE: Final = (
    "edge_client encode street.png",
    "edge_client inspect street.cotam",
)
ONLINE: Final = (
    'edge_client send street.png "how many cars are there?"',
    'edge_client send . "is there a car?"',
    'edge_client send street.png "what colour are the cars?" --budget 700B',
)
OFFLINE: Final = (
    'edge_client send field.png "what colour is the car?"; echo "exit code $?"',
    "edge_client spool list",
)
AGAIN: Final = ("edge_client spool flush", "edge_client spool list")


def main() -> None:
    """Run all commands in an empty home; print or write."""
    with tempfile.TemporaryDirectory(prefix="cotam-transcript-") as home:
        text = "\n".join(_lines(Path(home)))
    if "--write" not in sys.argv[1:]:
        print(text)
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    indented = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    beside = PAGE.with_suffix(".new")
    beside.write_text(f"{before}{BEGIN}\n\n{indented}\n\n{END}{after}", encoding="utf-8")
    beside.replace(PAGE)


def _lines(home: Path) -> Iterator[str]:
    for path in sorted(FOLDER.glob("*.png")):
        shutil.copy(path, home)
    yield from _run(home, ALONE)
    with serving() as url:
        yield "$ cloud_server serve &"
        yield from _run(home, ONLINE, url)
    yield "$ kill %1"
    yield from _run(home, OFFLINE)
    with serving() as url:
        yield "$ cloud_server serve &"
        yield from _run(home, AGAIN, url)


def _run(home: Path, commands: tuple[str, ...], url: str = "http://127.0.0.1:9") -> Iterator[str]:
    environment = {
        **os.environ,
        **{f"XDG_{kind}_HOME": str(home / kind) for kind in ("CONFIG", "STATE", "CACHE")},
        "PYTHONPATH": str(FOLDER.parent),
        "COTAM_SERVER_URL": url,
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    for command in commands:
        completed = subprocess.run(
            ["bash", "-c", f"{EDGE_CLIENT}\n{command}"],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        shown = completed.stdout.replace(url, SHOWN_URL).replace(
            str(home / "STATE"), "~/.local/state"
        )
        yield from (f"$ {command}", *shown.splitlines(), "")


if __name__ == "__main__":
    main()
