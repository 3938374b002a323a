"""Batches: folders, patterns, order, exit codes, what is kept, what is watched."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_client.batch import ordered_map
from edge_client.pictures.inputs import expand
from shared.bitstream import Bitstream
from shared.errors import UsageError

Cli = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., np.ndarray]) -> Path:
    """b.png 32x16, a.jpg 16x16, sub/c.png 48x16; notes, a hidden picture."""
    root = tmp_path / "pictures"
    (root / "sub").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name, width in (("b.png", 32), ("a.jpg", 16), ("sub/c.png", 48), (".hidden/d.png", 64)):
        Image.fromarray(draw(width, 16)).save(root / name)
    (root / "notes.txt").write_text("no picture")
    return root


def test_expand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    below = [str(Path(name)) for name in ("a.jpg", "b.png", "sub/c.png")]
    assert expand(["."]) == below
    assert expand(["*.png", "b.png", "-", "none.png"]) == ["b.png", "-", "none.png"]
    assert expand(["**/*.png"]) == ["b.png", str(Path("sub/c.png"))]
    Path("odd[1].png").write_bytes(b"")
    assert expand(["odd[1].png"]) == ["odd[1].png"]
    Path("empty").mkdir()
    for nothing in ("empty", "*.gif"):
        with pytest.raises(UsageError, match="no picture in"):
            expand([nothing])


def test_ordered_map_takes_as_it_needs() -> None:
    taken = []

    def supply() -> Any:
        for i in itertools.count():
            taken.append(i)
            yield i

    results = ordered_map(lambda x: x * x, supply(), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 3 + 4
    results.close()


def test_encode_a_folder(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "streams"
    completed = cli("encode", folder, "-o", out, "--json", "-c", 2)
    assert completed.code == 0
    lines = [json.loads(line) for line in completed.out.splitlines()]
    assert [line["width"] for line in lines] == [16, 32, 48]
    assert sorted(path.name for path in out.iterdir()) == ["a.cotam", "b.cotam", "c.cotam"]
    assert Bitstream.from_bytes((out / "b.cotam").read_bytes()).width == 32
    twice = cli("encode", folder / "a.jpg", folder / "sub" / ".." / "a.jpg", "-o", out, "--json")
    assert [Path(json.loads(line)["stream"]).name for line in twice.out.splitlines()] == [
        "a.cotam",
        "a-2.cotam",
    ]
    assert cli("encode", folder, "-o", "-").code == 2


def test_a_batch_goes_on_past_a_bad_picture(cli: Cli, folder: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    completed = cli("encode", folder, "--json", "--dry-run")
    assert completed.code == 1
    assert completed.err.count("error:") == 1
    assert "bad.png" in completed.err
    records = [json.loads(line) for line in completed.out.splitlines()]
    assert [r["error"]["code"] for r in records if "error" in r] == ["picture_unreadable"]
    assert len(records) == 4
    assert not list(folder.rglob("*.cotam"))
    only_bad = cli("encode", folder / "bad.png", folder / "notes.txt")
    assert only_bad.code == 3


def test_send_a_folder(cli: Cli, folder: Path, server: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    completed = cli("send", folder, "how large?", "-s", server.url, "--save-bitstream", kept)
    assert completed.code == 0
    answers = [line.split("\t")[1] for line in completed.out.splitlines()]
    assert answers == ["16 by 16", "32 by 16", "48 by 16"]
    sent = {seen.fields["bitstream"] for seen in server.seen}
    assert sent == {path.read_bytes() for path in kept.iterdir()}
    assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 3


def test_dry_run_sends_nothing(cli: Cli, folder: Path, server: Any) -> None:
    completed = cli("send", folder, "how large?", "-s", server.url, "--dry-run")
    assert completed.code == 0
    assert len(completed.out.splitlines()) == 3
    assert "bytes" in completed.out
    assert not server.seen


def test_nothing_to_send(cli: Cli) -> None:
    assert cli("send", "only a prompt").code == 2
    assert cli("encode").code == 2


def test_watch_without_a_folder(cli: Cli, tmp_path: Path) -> None:
    completed = cli("send", "--watch", tmp_path / "nowhere", "is the door open?")
    assert completed.code == 2
    assert "no folder to watch" in completed.err
