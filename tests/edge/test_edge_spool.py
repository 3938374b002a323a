"""The spool: order, bounds, poison, and a process killed at any point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_client.server.query import Query
from edge_client.spool.flush import send_waiting
from edge_client.spool.store import MAX_TRIES, JobUnreadable, Spool
from shared.errors import (
    CotamError,
    KeyRefused,
    ServerUnreachable,
    StreamMalformed,
    UpstreamError,
    UsageError,
)

Cli = Callable[..., Any]


def question(name: str) -> Query:
    return Query(b"stream of " + name.encode() + b"\n{}", f"what is {name}? \u2603", 7)


def submit(raised: dict[str, CotamError], seen: list[str]) -> Callable[[Query], Any]:
    """A server that fails where a prompt holds a word of `raised`."""

    def ask(asked: Query) -> str:
        for word, error in raised.items():
            if word in asked.prompt:
                raise error
        seen.append(asked.prompt)
        return "an answer"

    return ask


def test_what_goes_in_comes_out_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.entries() == []
    asked = [question(name) for name in "cab"]
    for query in asked:
        spool.add(query, "p.png", now=5.0)
    jobs = [Spool(spool.root).read(entry) for entry in Spool(spool.root).entries()]
    assert [job.query for job in jobs] == asked
    assert {(job.picture, job.created) for job in jobs} == {("p.png", 5.0)}


@given(
    stream=st.binary(max_size=200),
    prompt=st.text(min_size=1, max_size=50).filter(str.strip),
    tokens=st.none() | st.integers(1, 1024),
    picture=st.text(max_size=50),
)
@settings(max_examples=60, deadline=None)
def test_any_question_comes_back(
    stream: bytes, prompt: str, tokens: int | None, picture: str, tmp_path_factory: Any
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"))
    asked = Query(stream, prompt, tokens)
    job = spool.read(spool.add(asked, picture))
    assert (job.query, job.picture) == (asked, picture)


def test_order_holds_when_the_clock_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    ticks = iter([1000, 10, 1])
    monkeypatch.setattr("edge_client.spool.store.time.time_ns", lambda: next(ticks))
    added = [spool.add(question(name), "") for name in "abc"]
    assert spool.entries() == added


def test_send_waiting(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    for name in "abc":
        spool.add(question(name), name)
    results = list(send_waiting(spool, submit({}, seen)))
    assert [result.answer for result in results] == ["an answer"] * 3
    assert [prompt[8] for prompt in seen] == ["a", "b", "c"]
    assert spool.entries() == []


def test_an_answer_that_was_not_taken_is_asked_again(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    spool.add(question("a"), "a")
    results = send_waiting(spool, submit({}, seen))
    next(results)
    results.close()  # as if the process had died with the answer in its hands
    assert len(spool.entries()) == 1


@pytest.mark.parametrize("error", [ServerUnreachable("gone"), KeyRefused("no")])
def test_what_lies_with_the_server_stops_and_costs_nothing(
    error: CotamError, tmp_path: Path
) -> None:
    spool, seen = Spool(tmp_path), []
    for name in "abc":
        spool.add(question(name), name)
    results = list(send_waiting(spool, submit({"is b": error}, seen)))
    assert [result.error for result in results] == [None, error]
    assert [entry.tries for entry in spool.entries()] == [0, 0]


def test_poison_is_put_aside_with_its_reason(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    for name in "abc":
        spool.add(question(name), name)
    bad = StreamMalformed("the width is 0")
    results = list(send_waiting(spool, submit({"is b": bad}, seen)))
    assert [result.given_up for result in results] == [False, True, False]
    assert spool.entries() == []
    (entry,) = spool.poisoned()
    assert "width is 0" in (tmp_path / "poison" / f"{entry.name}.txt").read_text()
    assert Spool(tmp_path / "poison").read(entry).query.prompt.startswith("what is b")


def test_a_job_that_breaks_the_server_is_given_up_after_some_tries(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    spool.add(question("bomb"), "")
    spool.add(question("other"), "")
    died = {"bomb": UpstreamError("the model died")}
    for attempt in range(1, MAX_TRIES):
        list(send_waiting(spool, submit(died, seen)))
        assert spool.entries()[0].tries == attempt
    assert not seen
    list(send_waiting(spool, submit(died, seen)))
    assert len(seen) == 1
    assert len(spool.poisoned()) == 1


def test_bounds(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=700, max_age=10.0)
    for name in "abc":
        spool.add(question(name), name, now=100.0)
    with pytest.raises(UsageError, match="spool is full"):
        [spool.add(question(name), name, now=100.0) for name in "defgh"]
    kept = len(spool.entries())
    seen: list[str] = []
    results = list(send_waiting(spool, submit({}, seen), now=111.0))
    assert [result.given_up for result in results] == [True] * kept
    assert not seen
    assert 0 < sum(entry.size for entry in spool.poisoned()) <= 700
    assert spool.drop(poison=True) == kept
    assert list((tmp_path / "poison").iterdir()) == []


def test_damage_costs_one_job(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    entries = [spool.add(question(name), name) for name in "abcd"]
    for entry, damage in zip(entries, (b"", b"{", b'{"key": 3}\n'), strict=False):
        (tmp_path / entry.name).write_bytes(damage)
        with pytest.raises(JobUnreadable):
            spool.read(entry)
    (tmp_path / "stranger.txt").write_text("left alone")
    (tmp_path / ".half-written.job.1").write_bytes(b"x")
    results = list(send_waiting(spool, submit({}, seen)))
    assert [result.given_up for result in results] == [True, True, True, False]
    assert len(seen) == 1
    assert (tmp_path / "stranger.txt").exists()


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.job.17", tmp_path / ".b.job.18"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with Spool(tmp_path).lock():
        assert [path.exists() for path in (old, new)] == [False, True]


def test_one_sender_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with spool.lock(), pytest.raises(UsageError, match="another process"), Spool(tmp_path).lock():
        pass
    with spool.lock():
        pass


# -- the command line -------------------------------------------------------------------------


def test_offline_then_flush(cli: Cli, photo: Path, server: Any) -> None:
    offline = ("--server", "http://127.0.0.1:9", "--retries", 0)
    for prompt in ("first?", "second?"):
        sent = cli("send", photo, prompt, *offline)
        assert sent.code == 4
        assert "kept in the spool" in sent.err
    assert cli("send", photo, "third?", *offline, "--no-spool").code == 4
    listed = cli("spool", "list")
    assert ["first?" in listed.out, "second?" in listed.out] == [True, True]
    assert "2 waiting" in listed.err
    assert cli("spool", "flush", *offline).code == 4
    keys = [json.loads(line)["key"] for line in cli("spool", "list", "--json").out.splitlines()]
    flushed = cli("spool", "flush", "-s", server.url, "--json")
    assert flushed.code == 0
    assert [json.loads(line)["answer"] for line in flushed.out.splitlines()] == ["256 by 160"] * 2
    assert [seen.prompt for seen in server.seen] == ["first?", "second?"]
    assert [seen.headers["idempotency-key"] for seen in server.seen] == keys
    assert "nothing waits" in cli("spool", "flush").err


def test_a_batch_waits_for_a_dead_server_once(cli: Cli, photo: Path) -> None:
    pictures = [photo, photo.with_name("b.png"), photo.with_name("c.png")]
    for copy in pictures[1:]:
        copy.write_bytes(photo.read_bytes())
    sent = cli("send", *pictures, "?", "-s", "http://127.0.0.1:9", "--retries", 0)
    assert sent.code == 4
    listed = cli("spool", "list", "--json").out.splitlines()
    assert [json.loads(line)["picture"] for line in listed] == [str(path) for path in pictures]


def test_watching_catches_up_when_the_server_is_back(
    cli: Cli, photo: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("send", photo, "earlier?", "-s", "http://127.0.0.1:9", "--retries", 0)
    # Real pictures, but the watcher's endless wait ends after two of them.
    versions = [(photo, photo.read_bytes())] * 2
    monkeypatch.setattr("edge_client.pictures.watch.new_pictures", lambda _: iter(versions))
    completed = cli("send", "--watch", photo.parent, "now?", "-s", server.url)
    assert completed.code == 0
    assert [seen.prompt for seen in server.seen] == ["now?", "earlier?", "now?"]
    assert len(completed.out.splitlines()) == 3


def test_bounds_of_the_environment(cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = ("-s", "http://127.0.0.1:9", "--retries", 0)
    monkeypatch.setenv("COTAM_SPOOL_BYTES", "100B")
    full = cli("send", photo, "?", *offline)
    assert full.code == 2
    assert "spool is full" in full.err
    monkeypatch.setenv("COTAM_SPOOL_DAYS", "soon")
    assert "COTAM_SPOOL_DAYS is 'soon'" in cli("spool", "list").err


def test_poison_on_the_command_line(cli: Cli, photo: Path, server: Any, problem: Any) -> None:
    cli("send", photo, "?", "-s", "http://127.0.0.1:9", "--retries", 0)
    server.replies = [problem(422, "field_invalid", "no such thing")]
    flushed = cli("spool", "flush", "-s", server.url)
    assert flushed.code == 1
    assert "no such thing" in flushed.err
    assert "field_invalid" in cli("spool", "list", "--poison").out
    assert "1 thrown away" in cli("spool", "drop", "--poison", "--yes").err
    assert cli("spool", "list", "--poison").out == ""


def test_drop_asks_first(cli: Cli, photo: Path) -> None:
    cli("send", photo, "?", "-s", "http://127.0.0.1:9", "--retries", 0)
    assert cli("spool", "drop", stdin=b"n\n").code == 1
    assert "1 waiting" in cli("spool", "list").err
    assert cli("spool", "drop", stdin=b"y\n").code == 0
    assert "0 waiting" in cli("spool", "list").err


# -- kill -9 ----------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys
from pathlib import Path
import httpx
from edge_client.server.client import EdgeClient, Retries
from edge_client.spool.flush import send_waiting
from edge_client.server.query import Query
from edge_client.spool.store import Spool

root, url, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
stream = Path(sys.argv[4]).read_bytes()
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.scandir", "os.mkdir", "socket.connect")

def work(round):
    spool = Spool(root)
    for part in "ab":
        spool.add(Query(stream, "q", key=f"{round:03}{part}"), "p.png")
        # Only now does the caller know that it is kept.
        with open(f"{sys.argv[1]}.kept", "a") as kept:
            kept.write(f"{round:03}{part}\\n")
    with EdgeClient(url, retries=Retries(0)) as client:
        for result in send_waiting(spool, client.submit):
            with open(f"{sys.argv[1]}.taken", "a") as taken:
                taken.write(result.entry.key + "\\n")

for round in range(kills + 1):
    child = os.fork()
    if child == 0:
        if round < kills:
            left = random.Random(round).randrange(1, 60)
            def hook(event, args):
                global left
                if event in FILE_EVENTS:
                    left -= 1
                    if left <= 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(hook)
        work(round)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_kill_9_at_any_point_loses_nothing(
    tmp_path: Path, server: Any, photo: Path, cli: Cli
) -> None:
    """100 processes add and send, and die at a random operation on files or sockets."""
    assert cli("encode", photo).code == 0
    root, kills = tmp_path / "spool", 100
    completed = subprocess.run(
        [sys.executable, "-c", KILLED, root, server.url, str(kills), photo.with_suffix(".cotam")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert completed.returncode == 0, completed.stderr
    ends = Counter(completed.stdout.split())
    assert ends["9"] > kills * 0.6
    kept = (tmp_path / "spool.kept").read_text().split()
    taken = (tmp_path / "spool.taken").read_text().split()
    arrived = [seen.headers["idempotency-key"] for seen in server.seen]
    assert set(kept) <= set(taken) <= set(arrived)  # nothing that was kept is lost
    first = list(dict.fromkeys(arrived))
    assert first == sorted(first)  # order holds
    spool = Spool(root)
    assert spool.entries() == []
    assert spool.poisoned() == []
    # What came twice came under the same key, so that the server answers it once.
    repeated = {key: count for key, count in Counter(arrived).items() if count > 1}
    assert set(repeated) <= set(first)
