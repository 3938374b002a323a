"""Commands that documents show exist, with the options that they show."""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomllib
import typer
import yaml

from cloud_server.cli import cli as cloud_server
from edge_client.cli.app import app as edge_client

ROOT = Path(__file__).parents[2]
LOGS = ("CHANGELOG.md", "docs/notes.md")
"""They say what was so at their time."""
PAGES = [
    path
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if path.relative_to(ROOT).as_posix() not in LOGS
]
FENCE = re.compile(r"^( *)```\w*\n(.*?)^\1```$", re.M | re.S)
INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=-->\n))((?: {4}.*\n)+)")
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
START = re.compile(r"(?:edge_client|cloud_server|make|pip|docker|python3? -m|curl) ")


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of blocks and spans of code, up to what the shell takes."""
    blocks = [code for _, code in FENCE.findall(text)] + INDENTED.findall(text)
    lines = re.sub(r"\\\n\s*", " ", "\n".join(blocks)).split("\n")
    for line in [*lines, *SPAN.findall(FENCE.sub("", text).replace("\n", " "))]:
        for part in re.split(r"\s(?:\||&&|;)\s|[()]", line):
            bare = re.sub(r"^\s*(?:\$ |ExecStart=\S*/)?(?:[A-Z_]+=\S+ )*", "", part)
            if not START.match(bare):
                continue
            try:
                words = shlex.split(bare, comments=True)
            except ValueError:  # a quotation that goes on in the next line, or in another part
                words = bare.split()
            ends = [k for k, word in enumerate(words) if re.match(r"[|&;<>]|2>", word)]
            yield words[: ends[0]] if ends else words


def check_typer(app: typer.Typer, words: list[str]) -> None:
    """Sub-commands and options, as typer knows them."""
    command: Any = typer.main.get_command(app)
    known: set[str] = {"--help", "-h"}
    for word in words:
        known |= {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        if word.startswith("-") and word != "-":
            name = word.split("=")[0]
            assert name in known, f"no option {name}"
        elif hasattr(command, "commands"):
            assert word in command.commands, f"no command {word}"
            command = command.commands[word]


@cache
def options_of(package: str, command: str) -> set[str]:
    """What `python -m PACKAGE COMMAND` takes."""
    main = importlib.import_module(f"{package}.__main__")
    if package != "scenes":
        return set(main.loaded(command)[1]._option_string_actions)
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        main.main([command, "--help"])
    return set(re.findall(r"--[\w-]+", printed.getvalue()))


def check_module(words: list[str]) -> None:
    """`python -m` of a module, of ours with the options that it has."""
    module, *rest = words
    if module.split(".")[0] not in ("evaluation", "training", "examples", "cloud_server", "scenes"):
        return
    assert importlib.util.find_spec(module) is not None, module
    if module in ("evaluation", "training", "scenes") and rest and rest[0].islower():
        options = {word.split("=")[0] for word in rest[1:] if word.startswith("--")}
        assert options <= options_of(module, rest[0]), rest[0]


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        if "=" not in word and not word.startswith("-"):
            assert re.search(rf"^{re.escape(word)}:", makefile, re.M), f"no target {word}"


def check_extras(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        for extras in re.findall(r"^(?:\.|cotam)\[([\w,]+)\]", word):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), word


def check_compose(words: list[str]) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    profiles = {"NAME", *(p for service in services.values() for p in service.get("profiles", []))}
    for option, value in pairwise(words):
        assert option != "--profile" or value in profiles, value


def check_route(words: list[str]) -> None:
    reference = (ROOT / "docs/api.md").read_text()
    routes = re.findall(r"^## [A-Z]+ (\S+)$", reference, re.M)
    known = re.compile(
        "|".join(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route)) for route in routes)
    )
    for word in words:
        for path in re.findall(r"http://127\.0\.0\.1:8000(/[^?\s]*)", word):
            assert known.fullmatch(path), path


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "edge_client": lambda words: check_typer(edge_client, words),
    "cloud_server": lambda words: check_typer(cloud_server, words),
    "python": lambda words: check_module(words[1:]),
    "python3": lambda words: check_module(words[1:]),
    "make": check_make,
    "pip": check_extras,
    "docker": check_compose,
    "curl": check_route,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_there_with_their_options(page: Path) -> None:
    for first, *words in commands(page.read_text(encoding="utf-8")):
        try:
            CHECKS[first](words)
        except AssertionError as error:
            raise AssertionError(f"{page.name}: {shlex.join([first, *words])}: {error}") from None


def test_commands_are_seen() -> None:
    """What a page may hold: blocks of both kinds, spans, pipes, variables, continued lines."""
    text = """A page:

    $ A=b edge_client send x.png "how many?" | grep 1
    (printf x; cat y) | curl -s z

```bash
make \\
  docs && pip install '.[heic]'
```
say `python -m evaluation wire` or `cloud_server`.
"""
    assert sorted(commands(text)) == [
        ["curl", "-s", "z"],
        ["edge_client", "send", "x.png", "how many?"],
        ["make", "docs"],
        ["pip", "install", ".[heic]"],
        ["python", "-m", "evaluation", "wire"],
    ]
