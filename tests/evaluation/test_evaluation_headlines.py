"""Headlines: taken from sections, with what is not significant said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.__main__ import COMMANDS, PAGES, page_of
from evaluation.report.headlines import Results, change, text
from shared.errors import UsageError

ROOT = Path(__file__).parents[2]
PAGE = """
<!-- bits:begin -->
Of 12 things. **3 failures**.

**first**:

| | against A | against B |
| --- | ---: | ---: |
| overall | -54.0 % (-62 to -44) | +4.1 % (-26 to +23) |

**second**:

| | against A | against B |
| --- | ---: | ---: |
| overall | +1.0 % (+0 to +2) | none |
<!-- bits:end -->
"""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    (tmp_path / "page.md").write_text(PAGE)
    return Results.read(tmp_path)


def test_cells_are_looked_up_by_row_and_column(results: Results) -> None:
    assert results.cell("bits", "overall", "against A") == "-54.0 % (-62 to -44)"
    assert results.cell("bits", "overall", "against B", after="**second**") == "none"
    assert results.words("bits", r"\*\*(\d+) failures") == "3"


def test_what_is_missing_is_named(results: Results) -> None:
    with pytest.raises(UsageError, match="no cell of 'overall' and 'against C'"):
        results.cell("bits", "overall", "against C")
    with pytest.raises(UsageError, match="no section speed"):
        results.cell("speed", "overall", "against A")
    with pytest.raises(UsageError, match="does not say"):
        results.words("bits", "(nothing)")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("-54.0 % (-62 to -44)", "-54.0 % (-62 to -44)"),
        ("+4.1 % (-26 to +23)", "+4.1 % (-26 to +23), not significant"),
        ("+1.0 % (+0 to +2)", "+1.0 % (+0 to +2), not significant"),
        ("-3.5 %", "-3.5 %"),
        ("none", "none"),
    ],
)
def test_a_change_that_may_be_nothing_is_called_so(cell: str, words: str) -> None:
    assert change(cell) == words


def test_results_and_readme_have_the_lines_of_today() -> None:
    today = text(Results.read(ROOT / "docs/results"))
    assert 8 < today.count("\n") < 20
    for page in ("README.md", "docs/results.md"):
        shown = (ROOT / page).read_text(encoding="utf-8")
        assert today in shown, "run: python -m evaluation headlines"


def test_each_command_has_a_page() -> None:
    paged = [command for commands in PAGES.values() for command in commands]
    assert sorted(paged) == sorted(set(COMMANDS) - {"headlines"})
    assert page_of("codec") == Path("docs/results/codec.md")
    for page in PAGES:
        assert (ROOT / "docs/results" / f"{page}.md").exists()
