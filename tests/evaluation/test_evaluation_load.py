"""The load test in small: a real server, a few requests, every figure counted."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.commands.service import load, load_asking
from evaluation.commands.service.load import Outcome, add_arguments, main, run, scene_streams
from evaluation.commands.service.load_asking import Sender
from evaluation.machine.server_process import ServerProcess
from evaluation.machine.server_share import measure_share
from shared.bundle import Bundle
from shared.errors import UsageError


def test_an_outcome_counts() -> None:
    outcome = Outcome(wall=2.0, seconds=[0.1, 0.2, 0.3, 0.4])
    outcome.statuses.update({503: 2, 200: 4})
    assert (outcome.rate, outcome.percentile(50)) == (2.0, pytest.approx(250.0))
    assert outcome.describe() == "4 times 200, 2 times 503"
    assert Outcome().rate == Outcome().percentile(99) == 0.0


def test_nobody_there_is_lost_and_not_answered(bundle: Bundle) -> None:
    outcome = run("http://127.0.0.1:9", [b"stream"], clients=2, requests=3)
    assert (outcome.lost, outcome.seconds, outcome.clients) == (3, [], 2)


def test_a_server_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="the server did not start"),
        ServerProcess(["--bundle", str(tmp_path / "none")]),
    ):
        pytest.fail("it did start")


def test_our_share_is_a_part_of_the_whole(bundle: Bundle) -> None:
    share = measure_share(bundle, scene_streams(bundle)[:1], count=2, threads=1, repeats=1)
    assert 0 < share.overhead < share.whole
    assert min(vars(share).values()) > 0


def test_questions_that_stay_open_are_bounded(
    bundle: Bundle, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_asking, "SAMPLES", 3)
    sender = Sender.of(bundle, 1, ("how many cars?",))
    asked = load_asking.load(serve(images=2), lambda: 1.0, sender, 9, share=0.5, clients=2)
    assert asked.questions.total() == 9
    assert set(asked.questions) == {200, 202}
    assert set(asked.enhancements) <= {200, 404}
    assert (asked.lost, asked.failures()) == (0, 0)
    assert max(asked.kept) <= 2
    assert 0 < max(asked.kept_bytes) < 4000
    assert "**Asking back** (2 clients" in load_asking.paragraph(asked, 0.5, 2)


def test_the_command_writes_its_section(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in (("PLACES", 3), ("DRAIN_CLIENTS", 2), ("MEMORY_CLIENTS", 2)):
        monkeypatch.setattr(load, name, small)
    monkeypatch.setattr(load, "BATCH", 2)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--requests", "10", "--clients", "2", "--each", "4", "--repeats", "1"]
    arguments = parser.parse_args(words)
    arguments.report, arguments.results = tmp_path / "results.md", tmp_path
    arguments.words = ("load", *words)
    main(arguments)
    text = arguments.report.read_text()
    lines = [json.loads(line) for line in (tmp_path / "load.jsonl").read_text().splitlines()]
    runs = {line["key"]["run"]: line["value"] for line in lines}
    assert runs["2 batched"]["statuses"] == {"200": 4}
    assert [asked for asked, _ in runs["memory"]["megabytes"]] == list(range(1, 11))
    assert (runs["drain"]["lost"], runs["drain"]["exit"]) == (0, 0)
    flood = runs["overload"]
    assert flood["lost"] == 0
    assert set(flood["statuses"]) == {"200", "503"}
    assert "0 of the 503s without `Retry-After`" in text
    assert text.count("\n| ") >= 5
