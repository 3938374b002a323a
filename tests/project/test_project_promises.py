"""docs/stability.md: what it promises is there, and streams of releases decode as they did."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from cloud_server import decode
from cloud_server.cli import cli as cloud_server
from edge_client.cli.app import app as edge_client
from shared.bitstream import VERSION, Bitstream
from shared.bundle import embedded_bundles
from shared.errors import EXIT_CODE, StreamVersion
from training.__main__ import loaded

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/stability.md").read_text(encoding="utf-8")
RELEASED = ROOT / "tests/shared/released"
EXAMPLES = ROOT / "examples"
WRITTEN = {
    ("0.1.0", "street-q3"): ("street", None, 26.637),
    ("0.1.0", "street-joint"): ("street", None, 25.714),
    ("0.1.0", "field-q1-flat"): ("field", None, 24.027),
    ("0.1.0", "beach-1500B"): ("beach", None, 28.805),
    ("0.1.0", "crop-q9"): ("street", (3, 5, 150, 104), 35.639),
}
"""Stream of a release: its example, the part of that, and dB by that release's own decoder."""


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = re.findall(r"^\|(.*)\|$", section(title), re.M)[2:]
    assert lines
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize(("release", "name"), WRITTEN)
def test_streams_of_releases_decode_as_they_did(release: str, name: str) -> None:
    example, box, decibels = WRITTEN[release, name]
    path = RELEASED / release / f"{name}.cotam"
    with Image.open(EXAMPLES / f"{example}.png") as opened:
        original = opened.convert("RGB").crop(box) if box else opened.convert("RGB")
    restored = decode(path)
    assert restored.size == original.size
    error = np.asarray(restored, np.float64) - np.asarray(original, np.float64)
    assert 10 * np.log10(255**2 / np.mean(error**2)) == pytest.approx(decibels, abs=0.05)
    stream = Bitstream.from_bytes(path.read_bytes())
    assert stream.to_bytes() == path.read_bytes()
    assert any(bundle.decodes(stream.codec_id) for bundle in embedded_bundles())


def test_all_streams_that_are_kept_are_looked_at() -> None:
    kept = {(path.parent.name, path.stem) for path in RELEASED.rglob("*.cotam")}
    assert kept == set(WRITTEN)


def test_versions_of_no_release_are_refused() -> None:
    said = re.search(r"picture, versions 1 to (\d) \| no release \| no: `(\w+)`", PAGE)
    assert said is not None
    assert int(said[1]) == VERSION - 1
    assert said[2] == StreamVersion.code
    stream = (RELEASED / "0.1.0/street-q3.cotam").read_bytes()
    for version in range(1, VERSION):
        with pytest.raises(StreamVersion):
            Bitstream.from_bytes(stream[:2] + bytes([version]) + stream[3:])


def test_commands_and_options_are_there() -> None:
    for command, options in rows("Command line"):
        (words,) = quoted(command)
        program, *rest = words.split()
        if program == "python":
            known = set(loaded(rest[-1])[1]._option_string_actions)
        else:
            group = typer.main.get_command(
                {"edge_client": edge_client, "cloud_server": cloud_server}[program]
            )
            for word in rest:
                group = group.commands[word]
            known = {name for option in group.params for name in option.opts}
        assert set(quoted(options)) <= known, words
    assert sorted(set(EXIT_CODE.values()) | {0}) == list(range(7))


def test_python_names_are_there() -> None:
    for name, members in rows("Python"):
        (path,) = quoted(name)
        module, _, attribute = path.rpartition(".")
        if (ROOT / path.replace(".", "/")).with_suffix(".py").exists():
            continue  # a module: to import it is the use
        named = getattr(importlib.import_module(module), attribute)
        for member in quoted(members):
            fields = inspect.get_annotations(named)
            of_each = member in fields or f"self.{member} = " in inspect.getsource(named)
            assert hasattr(named, member) or of_each, (path, member)


def test_routes_are_there() -> None:
    reference = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    routes = re.findall(r"^## ((?:GET|POST|DELETE) \S+)$", reference, re.M)
    promised = [route for (cell,) in rows("HTTP") for route in quoted(cell)]
    assert set(promised) <= set(routes)
    assert all(route.split()[1].startswith("/playground") for route in set(routes) - set(promised))
