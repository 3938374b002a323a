"""Any model on any questions: the small model, on a small file with pictures on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.judges.dataset import is_right, read_dataset, scene_items
from scenes import Backgrounds
from scenes.files import render_files
from shared.bundle import MLLM, Bundle
from shared.errors import UsageError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes as `python -m scenes render` writes them."""
    folder = tmp_path_factory.mktemp("scenes")
    render_files("test", range(2), Backgrounds(), (256, 256), folder)
    return folder / "questions.jsonl"


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str) -> str:
    """What the command writes to its report."""
    page = tmp_path / "docs" / "results.md"
    more = ["--report", str(page), "--results", str(tmp_path / "runs"), "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["evaluation", "answers", *words, *more])
    main()
    return page.read_text()


def test_an_outside_model_answers_a_file(
    bundle: Bundle, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's own model, named by its folder; then again after an interruption."""
    words = ["--mllm", str(bundle.path(MLLM)), "--dataset", str(dataset)]
    words += ["--qualities", "2", "--formats", "JPEG", "--pictures", "1", "--batch", "5"]
    page = run(monkeypatch, tmp_path, *words)
    assert "`mllm` on 1 pictures of `questions.jsonl`" in page
    assert "--dataset questions.jsonl" in page
    assert "count, 1 to 4 of a kind (" in page
    assert all(f"| {name} | " in page for name in ("base codec", "+ guidance + adapter", "JPEG"))
    file = tmp_path / "runs" / "answers.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    questions = len(read_dataset(dataset, most=1)[0].questions)
    conditions = len([row for row in page.splitlines() if row.startswith("| ")]) - 2
    assert len(lines) == 1 + questions * conditions
    file.write_bytes(b"".join(lines[:-9]) + lines[-9][:20])
    assert run(monkeypatch, tmp_path, *words) == page
    assert sorted(file.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_model_that_is_not_there_is_one_clear_line(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path, "--mllm", str(tmp_path), "--dataset", str(dataset))
    assert stopped.value.code == 2
    assert "no language model to load" in capsys.readouterr().err


def test_a_file_is_read_by_pictures(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [
        {"image": "b.png", "text": "one", "answer": "1", "category": "count"},
        {"image": "a.png", "text": "two", "answer": ["2", "two or so"]},
        {"image": "b.png", "text": "three", "answer": 3},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    first, second = read_dataset(file)
    assert (first.name, second.name) == ("b.png", "a.png")
    assert [q.text for q in first.questions] == ["one", "three"]
    assert [q.answers for q in first.questions] == [("1",), ("3",)]
    assert second.questions[0].answers == ("2", "two or so")
    assert second.questions[0].category == "all"
    assert len(read_dataset(file, most=1)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no questions to read"),
        ("", "holds no questions"),
        ('{"image": "a.png", "text": "?"}', "line 1 is no question"),
        ('{"image": "a.png", "text": "?", "answer": "x"}\n[]', "line 2 is no question"),
        ("nonsense", "line 1 is no question"),
    ],
)
def test_a_file_of_another_form_is_refused(
    content: str | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_dataset(file)


@pytest.mark.parametrize(
    ("said", "answers", "right"),
    [
        ("three", ["3"], True),
        ("Three.", ["3"], True),
        ("Yes, there is a car.", ["yes"], True),
        ("There is no car", ["no"], False),
        ("no", ["yes"], False),
        ("The Red", ["red"], True),
        ("red and blue", ["red"], False),
        ("top left", ["left", "top left"], True),
        ("", ["yes"], False),
        ("", ["0"], False),
    ],
)
def test_what_counts_as_right(said: str, answers: list[str], right: bool) -> None:
    assert is_right(said, answers) == right


def test_scenes_are_a_dataset_too() -> None:
    items = scene_items(2)
    assert [item.name for item in items] == ["test-000000", "test-000001"]
    assert items[0].load().dtype == np.uint8
    assert all(len(item.questions) > 3 for item in items)
