"""Bytes that a question takes on the wire, both ways, on a kept connection.

edge --relay that counts--> server
"""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

from edge_client import EdgeClient
from edge_client.server.query import Query
from evaluation.machine.relay import Relay, counting_relay
from evaluation.machine.server_process import ServerProcess
from evaluation.report.document import command_line, table, write_section
from shared.bitstream import MEDIA_TYPE

PICTURE: Final = Path(__file__).parents[3] / "examples" / "street.png"
PROMPT: Final = "how many cars are there?"
KEY: Final = "k" * 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--prompt", default=PROMPT)


def main(arguments: argparse.Namespace) -> None:
    """Ask in each form, the second time on a connection that is there, and write the section."""
    prompt = arguments.prompt
    with ServerProcess() as server, counting_relay(server.url) as relay:
        with EdgeClient(relay.url) as client, httpx.Client(base_url=relay.url) as plain:
            stream = client.encode(arguments.picture).to_bytes()
            ask = {
                "the edge": lambda: client.submit(Query(stream, prompt)),
                "multipart, httpx": lambda: post_form(plain, stream, prompt),
            }
            counts = {name: second(relay, ask_once) for name, ask_once in ask.items()}
        with EdgeClient(relay.url, api_key=KEY) as client:
            counts["the edge, with a key of 32"] = second(
                relay, lambda: client.submit(Query(stream, prompt))
            )
    known = len(stream) + len(prompt.encode())
    rows = [
        [name, str(up), str(len(stream)), str(known - len(stream)), str(up - known), str(down)]
        for name, (up, down) in counts.items()
    ]
    head = ["request", "B up", "stream", "question", "all else", "B down"]
    body = (
        f"{command_line(arguments.words)}: bytes through the socket, of the second question on a "
        f"kept connection, TCP and IP not counted."
    )
    write_section(arguments.report, "wire", f"{body}\n\n{table(head, rows)}")


def post_form(http: httpx.Client, stream: bytes, prompt: str) -> None:
    """A question as an ordinary client sends it, with an idempotency key."""
    response = http.post(
        "/v1/query",
        data={"prompt": prompt},
        files={"bitstream": ("picture.cotam", stream, MEDIA_TYPE)},
        headers={"Idempotency-Key": uuid.uuid4().hex},
    )
    response.raise_for_status()


def second(relay: Relay, ask: Callable[[], object]) -> tuple[int, int]:
    """Bytes up and down of the second of two questions."""
    ask()
    up, down = relay.up, relay.down
    ask()
    return relay.up - up, relay.down - down
