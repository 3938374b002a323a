"""The README's ways from nothing: its blocks, and the section made of what they took."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.commands.documents.first_steps import ROOT, excerpt, report, runner, ways_of
from shared.errors import UsageError

PAGE = """
<!-- from nothing: print -->

    pip install .              # the device
    cloud_server serve         # in a second terminal
    edge_client send photo.jpg "what is #1?"

    make test

<!-- from nothing: demo -->

    make demo
"""


def test_a_way_is_the_block_below_its_name() -> None:
    assert ways_of(PAGE, {"photo.jpg": "sign.jpg"}) == {
        "print": ["pip install .", "cloud_server serve", 'edge_client send sign.jpg "what is #1?"'],
        "demo": ["make demo"],
    }


def test_the_readme_has_the_four_ways() -> None:
    ways = ways_of((ROOT / "README.md").read_text(encoding="utf-8"), {})
    assert list(ways) == [
        "the demonstration",
        "print in a photograph",
        "in front of vLLM",
        "an adapter",
    ]


def test_lines_run_where_the_page_is_and_the_last_printed_is_kept(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    with runner(tmp_path, environment, tmp_path / "log") as run:
        run("echo first > answer")
        assert run("cat answer; echo second")[1] == "second"
        with pytest.raises(UsageError, match=r"`false` ended with 1"):
            run("false")
        with pytest.raises(UsageError, match="did not become ready"):
            run("cloud_server serve")


def test_the_section_says_what_installing_took() -> None:
    value = {"seconds": [60.0, 2.0, 1.0], "bytes": 2_500_000_000, "printed": "3"}
    lines = ["pip install .", "cloud_server serve", "edge_client send street.png 'how many?'"]
    last = report([("print", lines, value)]).splitlines()[-1]
    assert last == "| print | 63 s | 60 s | 2.5 GB | 3 |"


def test_a_cell_holds_what_an_answer_says() -> None:
    assert excerpt('{"answer": "2", "view": "adapter", "id": "7"}') == "2 (view: adapter)"
    assert excerpt("`yes` " * 40).endswith(" ...")
