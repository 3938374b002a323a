"""The service under load: a real server process, real sockets, the bundle's own model.

    clients --POST /v1/query--> cloud_server serve --> answers; what is counted: every single one

Bounded in requests and in minutes. Speed is told beside what it is compared with in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import numpy as np

from edge_client.coding.encoder import Encoder
from evaluation.commands.service import load_asking
from evaluation.machine.server_process import ServerProcess
from evaluation.machine.server_share import BATCH, Share, measure_share
from evaluation.report.document import command_line, percent, table, write_section
from evaluation.report.records import Fields, Records
from scenes import Backgrounds, render
from shared.bundle import Bundle, open_bundle

CLIENTS: Final = (1, 8, 64, 256)
PICTURES: Final = 8
PROMPTS: Final = ("how many cars?", "is there a dog?", "what does the sign say?")
MOST_BATCHED: Final = 8
MEMORY_CLIENTS: Final = 16
SAMPLES: Final = 10
DRAIN_CLIENTS: Final = 12
DRAIN_DELAY_S: Final = 1.0
OVERLOAD: Final = 5
PLACES: Final = 16
"""Requests that the overloaded server takes at once."""
PATIENCE_S: Final = 300.0
ENDLESS: Final = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--requests", type=int, default=10_000, help="of the memory run")
    parser.add_argument("--minutes", type=float, default=20.0, help="of memory and flood, at most")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--each", type=int, default=300, help="requests at each number of clients")
    parser.add_argument("--threads", type=int, default=1, help="of the server's networks")
    parser.add_argument("--repeats", type=int, default=20, help="of our part; the median counts")
    parser.add_argument(
        "--ask-back",
        type=float,
        metavar="SHARE",
        help="only this: of 16 clients that share asks back (--requests says how many questions)",
    )


@dataclass
class Outcome:
    """What became of the requests of one run. seconds: of those that were answered with 200.

    lost: requests without any answer. unhelpful: 503 without Retry-After.
    """

    wall: float = 0.0
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    unhelpful: int = 0

    clients: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall if self.wall else 0.0

    def percentile(self, percentage: float) -> float:
        """Milliseconds within which that percentage was answered."""
        return 1000 * float(np.percentile(self.seconds, percentage)) if self.seconds else 0.0

    def describe(self) -> str:
        """How often each status came."""
        counts = sorted(self.statuses.items())
        return ", ".join(f"{count} times {status}" for status, count in counts)

    def summary(self) -> Fields:
        """Its numbers, for the record."""
        statuses = {str(status): count for status, count in self.statuses.items()}
        times = {f"p{p}": self.percentile(p) for p in (50, 99)}
        return {"rate": self.rate, **times, "statuses": statuses, "lost": self.lost}


def main(arguments: argparse.Namespace) -> None:
    """Run everything against servers of our own and write the section."""
    bundle = open_bundle(arguments.bundle)
    flags = ("--bundle", str(bundle.root), "--threads", str(arguments.threads))
    records = Records(arguments.results / "load.jsonl")
    key = {"bundle": bundle.hex_id, "threads": arguments.threads, "at": time.time()}
    if arguments.ask_back is not None:
        sender = load_asking.Sender.of(bundle, PICTURES, PROMPTS)
        with ServerProcess(flags, images=load_asking.KEPT) as server:
            asked = load_asking.load(
                server.url, server.memory, sender, arguments.requests, arguments.ask_back
            )
        records.add({**key, "run": "asking back"}, asked.summary())
        parts = [_lead(arguments, bundle), load_asking.paragraph(asked, arguments.ask_back)]
        write_section(arguments.report, "load-asking", "\n\n".join(parts))
        return
    streams = scene_streams(bundle)
    levels: dict[tuple[str, int], Outcome] = {}
    most = 2 * max(arguments.clients)
    for name, batch in (("batched", MOST_BATCHED), ("one by one", 1)):
        roomy: dict[str, Any] = {"max_requests": most, "max_batch": batch, "deadline_s": PATIENCE_S}
        with ServerProcess(flags, **roomy) as server:
            run(server.url, streams, 4, 12)  # warms up
            for clients in arguments.clients:
                outcome = run(server.url, streams, clients, max(arguments.each, 2 * clients))
                levels[name, clients] = outcome
                records.add({**key, "run": f"{clients} {name}"}, outcome.summary())
            if batch > 1:
                memory = watch_memory(server, streams, arguments.requests, arguments.minutes)
                records.add({**key, "run": "memory"}, {"megabytes": memory})
    narrow: dict[str, Any] = {"max_requests": PLACES, "drain_delay_s": DRAIN_DELAY_S}
    with ServerProcess(flags, **narrow) as server:
        run(server.url, streams, PLACES, 2 * PLACES)
        before = server.memory()
        flood = asyncio.run(_flood(server.url, streams, arguments.each, arguments.minutes))
        grown = server.memory() - before
        records.add({**key, "run": "overload"}, {**flood.summary(), "grown": grown})
        drained = asyncio.run(_drain(server, streams))
        code = server.wait()
        records.add({**key, "run": "drain"}, {**drained.summary(), "exit": code})
    threads, repeats = arguments.threads, arguments.repeats
    shares = {n: measure_share(bundle, streams, n, threads, repeats) for n in (1, BATCH)}
    for count, share in shares.items():
        records.add({**key, "run": f"share of {count}"}, vars(share))
    parts = [
        _lead(arguments, bundle),
        *_levels(arguments.clients, levels),
        _memory(memory),
        f"**SIGTERM under load** ({DRAIN_CLIENTS} clients, {DRAIN_DELAY_S:g} s in which a balancer "
        f"would notice): {len(drained.seconds)} requests answered, {drained.lost} lost; the "
        f"process ended with {code}.",
        f"**Five-fold overload** ({OVERLOAD * PLACES} clients that come again at once, {PLACES} "
        "places): "
        f"{flood.describe()}; {flood.unhelpful} of the 503s without `Retry-After`, "
        f"{flood.lost} lost. Memory changed by {grown:+.1f} MB.",
        *_shares(shares, levels["batched", min(arguments.clients)]),
    ]
    write_section(arguments.report, "load", "\n\n".join(parts))


def scene_streams(bundle: Bundle) -> list[bytes]:
    """A few pictures of Scenes as an edge sends them."""
    encoder = Encoder(bundle, threads=1)
    pictures = [render("test", index, Backgrounds()).picture for index in range(PICTURES)]
    return [
        encoder.analyse(picture).code(bundle.manifest.quality).to_bytes() for picture in pictures
    ]


def run(url: str, streams: Sequence[bytes], clients: int, requests: int) -> Outcome:
    """`requests` questions, asked by so many clients, each of which waits for its answer."""
    return asyncio.run(_run(url, streams, clients, requests, lambda _: False))


async def _run(
    url: str,
    streams: Sequence[bytes],
    clients: int,
    requests: int,
    ended: Callable[[Outcome], bool],
) -> Outcome:
    outcome = Outcome(clients=clients)
    left = iter(range(requests))

    async def client(http: httpx.AsyncClient) -> None:
        for number in left:
            if ended(outcome):
                return
            stream, prompt = streams[number % len(streams)], PROMPTS[number % len(PROMPTS)]
            form = {"bitstream": (None, stream), "prompt": (None, prompt.encode())}
            start = time.perf_counter()
            try:
                response = await http.post("/v1/query", files=form)
            except httpx.HTTPError:
                outcome.lost += 1
                continue
            outcome.statuses[response.status_code] += 1
            if response.status_code == 200:
                outcome.seconds.append(time.perf_counter() - start)
            elif response.status_code == 503 and not response.headers.get("retry-after"):
                outcome.unhelpful += 1

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits) as http:
        start = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(clients)))
        outcome.wall = time.perf_counter() - start
    return outcome


def watch_memory(
    server: ServerProcess, streams: Sequence[bytes], requests: int, minutes: float
) -> list[tuple[int, float]]:
    """Requests so far and megabytes, ten times; fewer where the minutes are over before."""
    end = time.monotonic() + 60 * minutes
    asked, samples = 0, []
    while asked < requests and time.monotonic() < end:
        part = min(max(1, requests // SAMPLES), requests - asked)
        run(server.url, streams, MEMORY_CLIENTS, part)
        asked += part
        samples.append((asked, server.memory()))
    return samples


async def _flood(url: str, streams: Sequence[bytes], answers: int, minutes: float) -> Outcome:
    """Five clients for each place, who come again as soon as they are refused."""
    end = time.monotonic() + 60 * minutes

    def enough(outcome: Outcome) -> bool:
        return len(outcome.seconds) >= answers or time.monotonic() > end

    return await _run(url, streams, OVERLOAD * PLACES, ENDLESS, enough)


async def _drain(server: ServerProcess, streams: Sequence[bytes]) -> Outcome:
    """Clients that ask until /readyz says no, as those behind a balancer do."""
    out = False

    def ended(outcome: Outcome) -> bool:
        return out

    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as http:
        load = asyncio.ensure_future(_run(server.url, streams, DRAIN_CLIENTS, ENDLESS, ended))
        await http.post("/v1/query", files={"bitstream": streams[0], "prompt": (None, PROMPTS[0])})
        server.terminate()
        while not out:
            await asyncio.sleep(DRAIN_DELAY_S / 10)
            out = (await http.get("/readyz")).status_code != 200
    return await load


def _lead(arguments: argparse.Namespace, bundle: Bundle) -> str:
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"`cloud_server serve` with {arguments.threads} thread(s) for its networks, bundle "
            f"{bundle.hex_id} and its own language model, on {os.cpu_count()} cores that it shares "
            f"with its clients; {PICTURES} pictures of 256x256 and {len(PROMPTS)} questions, sent "
            "whole each time. Read the ratios: milliseconds depend on the machine and on what else "
            "it does.",
        ]
    )


def _levels(clients: Sequence[int], levels: dict[tuple[str, int], Outcome]) -> list[str]:
    rows = []
    for count in clients:
        batched, single = levels["batched", count], levels["one by one", count]
        rows.append(
            [
                str(count),
                *(f"{value:.1f}" for value in (batched.rate, single.rate)),
                f"{batched.rate / single.rate:.2f}" if single.rate else "none",
                *(
                    f"{outcome.percentile(p):.0f}"
                    for outcome in (batched, single)
                    for p in (50, 99)
                ),
                str(batched.lost + single.lost),
            ]
        )
    head = ["clients", "answers a second, batched", "one by one", "ratio"]
    head += ["p50, ms, batched", "p99", "p50, ms, one by one", "p99", "lost"]
    return [
        f"Batches of at most {MOST_BATCHED}, made of what waits, against one request at a time:",
        table(head, rows),
    ]


def _memory(samples: Sequence[tuple[int, float]]) -> str:
    asked, last = samples[-1]
    megabytes_of_parts = ", ".join(f"{megabytes:.0f}" for _, megabytes in samples)
    first = samples[0][1]
    return (
        f"**Memory** over {asked} requests of {MEMORY_CLIENTS} clients, MB after each part: "
        f"{megabytes_of_parts}; {last - first:+.1f} MB from the first to the last."
    )


def _shares(shares: dict[int, Share], alone: Outcome) -> list[str]:
    rows = []
    for count, share in shares.items():
        steps = (share.parse, share.decode, share.adapter, share.overhead, share.whole)
        name = "one picture" if count == 1 else f"a picture in a batch of {count}"
        rows.append([name, *(f"{ms:.2f}" for ms in steps), percent(share.overhead / share.whole)])
    over_http = shares[1].overhead / alone.percentile(50) if alone.seconds else 0.0
    return [
        "**Our part** of an answer (what a server for ordinary pictures would not do), ms a "
        "picture, in one process without HTTP:",
        table(["", "parse", "decode", "adapter", "ours", "whole answer", "share"], rows),
        f"Of a whole request over HTTP at {alone.clients} client(s): {percent(over_http)}.",
    ]
