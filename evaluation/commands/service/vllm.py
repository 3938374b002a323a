"""A real vLLM with the bundle's language model: does it answer as our own server does?

street.png --edge--> stream --+--> our server, its own model                     (the reference)
                              +--> our server --PNG--> vLLM
                              +--> our server --adapted features--> vLLM
                              `--> vLLM with `plugins.vllm`: the stream itself in `image_url`
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from edge_client import EdgeClient
from evaluation.machine.server_process import ServerProcess
from evaluation.machine.vllm_process import VllmProcess
from evaluation.report.document import command_line, table, write_section
from shared.bitstream import MEDIA_TYPE
from shared.bundle import MLLM, open_bundle

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
TOKENS: Final = 24

Ask = Callable[[bytes, str], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument(
        "--python",
        type=Path,
        required=True,
        metavar="FILE",
        help="interpreter of the environment in which vLLM is installed, with this package for "
        "`plugins.vllm`",
    )


def main(arguments: argparse.Namespace) -> None:
    """Ask every example question every way, then write the section. Raises UsageError."""
    bundle = open_bundle(arguments.bundle)
    model = bundle.path(MLLM)
    questions = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    with EdgeClient(bundle=bundle) as edge:
        streams = {name: edge.encode(EXAMPLES / f"{name}.png").to_bytes() for name in questions}
    asked = [
        (streams[name], question["prompt"])
        for name, listed in questions.items()
        for question in listed
    ]
    with ServerProcess(bundle=arguments.bundle) as own:
        reference = [_ask_server(own.url)(*question) for question in asked]
    answers: dict[str, list[str]] = {}
    with VllmProcess(arguments.python, model) as vllm:
        version = vllm.version()
        upstream = {"bundle": arguments.bundle, "mllm": f"{vllm.url}/v1"}
        with ServerProcess(**upstream) as server:
            answers["our server, PNG"] = [_ask_server(server.url)(*each) for each in asked]
        with ServerProcess(**upstream, upstream_tower=model) as server:
            answers["our server, adapted features"] = [
                _ask_server(server.url)(*each) for each in asked
            ]
        with httpx.Client(base_url=vllm.url, timeout=120) as http:
            if _takes_streams(http, asked[0][0]):
                answers["the stream itself"] = [_ask_vllm(http)(*each) for each in asked]
            refusal = _refusal(http, asked[0][0])
            both = _ask_two(http, list(streams.values())[:2])
    rows = [[way, _equal(given, reference), _example(given)] for way, given in answers.items()]
    body = (
        f"{command_line(arguments.words)}\n\n"
        f"vLLM {version} on a CPU in float32, with the language model of bundle "
        f"{bundle.hex_id}; the {len(asked)} example questions of `examples/questions.json`, each "
        "answer beside that of our own server with the same stream.\n\n"
        + table(["what vLLM gets", "answers equal to ours", "to the first question"], rows)
        + f"\n\nA damaged stream in `image_url`: {refusal}. Two streams in one request: {both}."
    )
    write_section(arguments.report, "vllm", body)
    print(body)


def _ask_server(url: str) -> Ask:
    def ask(stream: bytes, prompt: str) -> str:
        files = {"bitstream": ("picture.cotam", stream, MEDIA_TYPE)}
        answer = httpx.post(f"{url}/v1/query", files=files, data={"prompt": prompt}, timeout=120)
        return str(answer.raise_for_status().json()["answer"])

    return ask


def _ask_vllm(http: httpx.Client) -> Ask:
    def ask(stream: bytes, prompt: str) -> str:
        answer = _complete(http, [stream], prompt).raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"]).strip()

    return ask


def _complete(http: httpx.Client, streams: Sequence[bytes], prompt: str) -> httpx.Response:
    content: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:{MEDIA_TYPE};base64,{base64.b64encode(stream).decode()}"},
        }
        for stream in streams
    ]
    content.append({"type": "text", "text": prompt})
    body = {"model": "tiny", "max_tokens": TOKENS, "temperature": 0}
    return http.post(
        "/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": content}]}
    )


def _takes_streams(http: httpx.Client, stream: bytes) -> bool:
    return _complete(http, [stream], "is there a car?").is_success


def _refusal(http: httpx.Client, stream: bytes) -> str:
    damaged = stream[:-6] + bytes([stream[-6] ^ 1]) + stream[-5:]
    answer = _complete(http, [damaged], "is there a car?")
    error = answer.json().get("error", {})
    return f"{answer.status_code}, `{error.get('message', answer.text)}`"


def _ask_two(http: httpx.Client, streams: Sequence[bytes]) -> str:
    answer = _complete(http, streams, "is there a car?")
    if answer.is_success:
        return f"answered (`{answer.json()['choices'][0]['message']['content'].strip()}`)"
    return f"{answer.status_code}"


def _equal(given: Sequence[str], reference: Sequence[str]) -> str:
    same = sum(a == b for a, b in zip(given, reference, strict=True))
    return f"{same} of {len(reference)}"


def _example(given: Sequence[str]) -> str:
    return f"`{given[0]}`"
