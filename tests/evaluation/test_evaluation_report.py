"""The sections of the results page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evaluation.report.document import command_line, table, write_section
from shared.errors import UsageError

PAGE = "# Results\n\nAbove.\n\n<!-- a:begin -->\nold\n<!-- a:end -->\n\nBelow.\n"


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    write_section(page, "a", "new")
    text = page.read_text()
    assert text.startswith("# Results\n\nAbove.\n\n<!-- a:begin -->")
    assert text.endswith("<!-- a:end -->\n\nBelow.\n")
    assert "new" in text
    assert "old" not in text


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    write_section(page, "a", "new")
    once = page.read_bytes()
    write_section(page, "a", "new")
    assert page.read_bytes() == once
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.md"]


def test_a_missing_section_or_page_is_made(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    write_section(page, "a", "first")
    write_section(page, "b", "second")
    text = page.read_text()
    assert text.index("first") < text.index("<!-- b:begin -->") < text.index("second")


def test_commands_side_by_side_lose_no_section(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    names = [f"section-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: write_section(page, name, f"body of {name}"), names))
    text = page.read_text()
    assert all(f"body of {name}\n" in text for name in names)


@pytest.mark.parametrize(
    "page",
    [
        "<!-- a:begin -->\nno end\n",
        "<!-- a:end -->\n<!-- a:begin -->\n",
        "<!-- a:begin --><!-- a:end --><!-- a:begin --><!-- a:end -->",
    ],
)
def test_broken_markers_are_refused_and_nothing_is_lost(tmp_path: Path, page: str) -> None:
    path = tmp_path / "results.md"
    path.write_text(page)
    with pytest.raises(UsageError, match="section a"):
        write_section(path, "a", "new")
    assert path.read_text() == page


def test_a_command_tells_no_folders(tmp_path: Path) -> None:
    folder = tmp_path / "kodak"
    folder.mkdir()
    shown = command_line(
        ["codec", "--pictures", str(folder), "--results", "elsewhere", "--guidance"]
    )
    assert shown == "`python -m evaluation codec --pictures kodak --guidance`"
    assert "--pictures=kodak`" in command_line(["codec", f"--pictures={folder}"])


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
