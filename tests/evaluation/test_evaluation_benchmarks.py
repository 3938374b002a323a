"""The table for one's own model, rehearsed: a small random LLaVA, a local set of the usual form."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import __main__ as evaluation
from evaluation.commands.models.benchmarks import equal_score, read_set, scores_of
from evaluation.judges.accuracy import Condition
from evaluation.judges.metrics import choice, exact, vqa
from evaluation.stats.bootstrap import resamples
from evaluation.towers.random_models import write_model
from scenes.__main__ import main as scenes
from shared.bundle import MANIFEST, MLLM, Bundle
from shared.errors import UsageError

PICTURES = 4


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes with their questions, in the form of LLaVA's evaluation."""
    folder = tmp_path_factory.mktemp("set")
    with pytest.MonkeyPatch.context() as patch:
        words = ["scenes", "render", "--split", "val", "--count", str(PICTURES), "--out"]
        patch.setattr(sys, "argv", [*words, str(folder)])
        scenes()
    return folder / "questions.jsonl"


def test_from_photographs_to_the_table(
    bundle: Bundle,
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = write_model("clip", bundle.path(MLLM), tmp_path / "model")
    report, results, work = (tmp_path / name for name in ("r.md", "results", "work"))

    def run(*more: str) -> str:
        words = ["evaluation", "benchmarks", "--mllm", str(model), "--work", str(work)]
        words += ["--sets", f"pope={questions}", f"vqav2:vqa={questions}", "--pictures", "2"]
        words += ["--data", str(questions.parent), "--minutes", "0.002", "--resolution", "96"]
        words += ["--qualities", "2", "--formats", "JPEG", "--max-new-tokens", "2"]
        words += ["--device", "cpu", "--threads", "1", "--batch", "2"]
        words += ["--report", str(report), "--results", str(results), *more]
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        evaluation.main()
        return capfd.readouterr().err

    asked = sum(1 for line in questions.read_text().splitlines() if _index(line) < 2)
    planned = run("--plan")
    assert "training: 0.0 hours on cpu" in planned
    assert f"{7 * asked:,} of pope, {7 * asked:,} of vqav2, over 7 ways to send" in planned
    assert not report.exists()
    assert not work.exists()

    run()
    assert Bundle.open(work / "bundle").manifest.name == "mine"
    text = report.read_text()
    assert text.index("### pope") < text.index("### vqav2")
    for row in (
        "| JPEG |",
        "| base codec |",
        "| + guidance |",
        "| + adapter |",
        "| uncompressed |",
    ):
        assert text.count(row) >= 2
    assert text.count("whole method at equal score") == 2

    # Once more: nothing is trained or asked that is there already.
    made, known = (work / "bundle" / MANIFEST).read_bytes(), (results / "benchmarks.jsonl")
    before = known.read_bytes()
    run()
    assert report.read_text() == text
    assert known.read_bytes() == before
    assert (work / "bundle" / MANIFEST).read_bytes() == made


def _index(line: str) -> int:
    return int(Path(json.loads(line)["image"]).stem.split("-")[1])


def test_a_bundle_for_another_tower_is_refused(
    bundle: Bundle, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    model = write_model("clip", bundle.path(MLLM), tmp_path / "model")
    words = ["evaluation", "benchmarks", "--mllm", str(model), "--bundle", "tiny"]
    words += ["--sets", f"pope={questions}", "--pictures", "1", "--device", "cpu"]
    words += ["--results", str(tmp_path), "--report", str(tmp_path / "r.md")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        evaluation.main()
    assert "has no adapter for the tower of" in capfd.readouterr().err


@pytest.mark.parametrize("word", ["pope", "=x", "pope=", "pope:bleu=x"])
def test_sets_of_another_form_are_named(word: str) -> None:
    with pytest.raises(UsageError, match="NAME"):
        read_set(word, None)


@pytest.mark.parametrize(
    ("metric", "said", "answers", "score"),
    [
        (exact, "Yes, there is a car.", ("yes",), 1.0),
        (exact, "two", ("2",), 1.0),
        (choice, "B", ("B",), 1.0),
        (choice, "(b)", ("B",), 1.0),
        (choice, "A. a dog", ("A",), 1.0),
        (choice, "A. a dog", ("D",), 0.0),
        (choice, "Both", ("B",), 0.0),
        (choice, "", ("A",), 0.0),
        (vqa, "a dog", ("dog", "dog", "cat"), 2 / 3),
        (vqa, "dog", ("dog",) * 10, 1.0),
        (vqa, "cow", ("dog",) * 10, 0.0),
    ],
)
def test_metrics(
    metric: Callable[[str, Sequence[str]], float], said: str, answers: Sequence[str], score: float
) -> None:
    assert metric(said, answers) == pytest.approx(score)


def test_half_the_bytes_at_equal_score_is_minus_a_half(questions: Path) -> None:
    question_set = read_set(f"pope={questions}", None)
    conditions = [Condition(name, quality) for name in ("full", "JPEG") for quality in (1.0, 2.0)]

    def answers(item: Any, condition: Condition) -> list[dict[str, Any]]:
        right = len(item.questions) * condition.quality / 2
        size = 100 * condition.quality * (2 if condition.codec == "JPEG" else 1)
        return [
            {"said": question.answers[0] if i < right else "?", "bytes": size}
            for i, question in enumerate(item.questions)
        ]

    values = [[answers(item, condition) for condition in conditions] for item in question_set.items]
    scores = scores_of(question_set, conditions, values)
    changes = equal_score(scores["JPEG"], scores["full"], resamples(PICTURES, 20))
    np.testing.assert_allclose(changes, -0.5)
