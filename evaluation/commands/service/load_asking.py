"""The service under load of clients that ask back: what is kept for them stays bounded.

client --question--> 202 with `need` --half of them--> enhancement --> 200
                                     --the others----> nothing: their questions stay open
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from edge_client.coding.continuing import CodedPicture
from edge_client.coding.encoder import Analysed, Encoder
from edge_client.server.client import FIRST_QUALITY
from edge_client.server.protocol import answer_of, cells_of, enhancement_of, request_of
from edge_client.server.query import AskBack, Query
from evaluation.report.records import Fields
from scenes import Backgrounds, render
from shared.bundle import Bundle
from shared.schemas import Need

CLIENTS: Final = 16
KEPT: Final = 32
"""Pictures and questions that the server keeps: few, so that the bound is met."""
SAMPLES: Final = 10
ALWAYS: Final = AskBack(confidence=1.0)
PATIENCE_S: Final = 300.0


@dataclass
class Asked:
    """What became of questions and of enhancements. statuses: how often each came, of either.

    lost: requests without an answer.
    kept, kept_bytes, megabytes: after each part, what the server keeps and what its process holds.
    """

    questions: Counter[int] = field(default_factory=Counter)
    enhancements: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    kept: list[int] = field(default_factory=list)
    kept_bytes: list[int] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def failures(self) -> int:
        """Answers of 500 and above."""
        both = self.questions + self.enhancements
        return sum(count for status, count in both.items() if status >= 500)

    def summary(self) -> Fields:
        """Its numbers, for the record."""
        statuses = {name: dict(getattr(self, name)) for name in ("questions", "enhancements")}
        kept = {name: getattr(self, name) for name in ("kept", "kept_bytes", "megabytes")}
        return {**statuses, **kept, "lost": self.lost, "failures": self.failures()}


@dataclass(frozen=True)
class Sender:
    """Coded pictures and questions about them, and what enhances the pictures."""

    analysed: Sequence[Analysed]
    prompts: Sequence[str]

    @classmethod
    def of(cls, bundle: Bundle, pictures: int, prompts: Sequence[str]) -> Sender:
        """Of the first test scenes."""
        encoder = Encoder(bundle, threads=1)
        drawn = (render("test", index, Backgrounds()).picture for index in range(pictures))
        return cls([encoder.analyse(picture) for picture in drawn], prompts)

    def query(self, number: int, asks: bool) -> Query:
        """The question of that number."""
        stream = self.analysed[number % len(self.analysed)].code(FIRST_QUALITY).to_bytes()
        prompt = self.prompts[number % len(self.prompts)]
        return Query(stream, prompt, ask_back=ALWAYS if asks else None)

    def enhancement(self, number: int, need: Need) -> bytes:
        """What an answer to it asks for."""
        analysed = self.analysed[number % len(self.analysed)]
        stream = analysed.code(FIRST_QUALITY)
        return CodedPicture(analysed, stream).enhancement(cells_of(need, stream), need.quality)


def load(
    url: str,
    memory: Callable[[], float],
    sender: Sender,
    requests: int,
    share: float,
    clients: int = CLIENTS,
) -> Asked:
    """`requests` questions by so many clients, a share of which asks back about every answer.

    memory: megabytes of the server's process.
    """
    asked = Asked()
    numbers = iter(range(requests))
    parts = min(SAMPLES, requests)
    for part in range(parts):
        most = requests // parts + (part < requests % parts)
        asyncio.run(_part(url, sender, asked, numbers, most, share, clients))
        kept = _gauges(url)
        asked.kept.append(int(kept["cotam_images"]))
        asked.kept_bytes.append(int(kept["cotam_images_bytes"]))
        asked.megabytes.append(memory())
    return asked


async def _part(
    url: str,
    sender: Sender,
    asked: Asked,
    numbers: Iterator[int],
    most: int,
    share: float,
    clients: int,
) -> None:
    own_numbers = iter([next(numbers) for _ in range(most)])
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits) as http:

        async def client(asks: bool) -> None:
            for number in own_numbers:
                try:
                    await _ask(http, sender, asked, number, asks)
                except httpx.HTTPError:
                    asked.lost += 1

        await asyncio.gather(*(client(place < share * clients) for place in range(clients)))


async def _ask(
    http: httpx.AsyncClient, sender: Sender, asked: Asked, number: int, asks: bool
) -> None:
    query = await asyncio.to_thread(sender.query, number, asks)
    response = await http.send(http.build_request(**request_of(query)))
    asked.questions[response.status_code] += 1
    if response.status_code != 202 or number % 2:
        return
    need = answer_of(response).need
    assert need is not None
    body = await asyncio.to_thread(sender.enhancement, number, need)
    response = await http.send(http.build_request(**enhancement_of(need.handle, body)))
    asked.enhancements[response.status_code] += 1


def _gauges(url: str) -> dict[str, float]:
    """Metrics without labels by their names."""
    lines = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text.splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs if "{" not in name}


def paragraph(asked: Asked, share: float, clients: int = CLIENTS) -> str:
    """The paragraph about it."""
    questions, enhancements = (
        ", ".join(f"{count} times {status}" for status, count in sorted(counts.items()))
        for counts in (asked.questions, asked.enhancements)
    )
    megabytes = ", ".join(f"{each:.0f}" for each in asked.megabytes)
    return (
        f"**Asking back** ({clients} clients, of which a share of {share:g} asks back about every "
        f"answer; every second of these questions is left open; the server keeps {KEPT}). "
        f"Questions: {questions}; enhancements: {enhancements}. {asked.failures()} answers of 500 "
        f"and above, {asked.lost} lost. Kept at most: {max(asked.kept)} questions in "
        f"{max(asked.kept_bytes) / 1000:.1f} kB. MB after each part: {megabytes}; "
        f"{asked.megabytes[-1] - asked.megabytes[0]:+.1f} MB from the first to the last."
    )
