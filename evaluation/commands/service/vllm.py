"""A real vLLM with the bundle's language model: does it answer as our own server does?

street.png --edge--> stream --+--> our server, its own model                     (the reference)
                              +--> our server --PNG--> vLLM
                              +--> our server --adapted features--> vLLM
                              `--> vLLM with `plugins.vllm`: the stream itself in `image_url`
street.png --PNG--> edge_client proxy --stream--> vLLM with `plugins.vllm`
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from edge_client import EdgeClient
from evaluation.machine.proxy_process import ProxyProcess
from evaluation.machine.server_process import ServerProcess
from evaluation.machine.vllm_process import VllmProcess
from evaluation.report.document import command_line, table, write_section
from shared.bitstream import MEDIA_TYPE
from shared.bundle import MLLM, open_bundle
from shared.errors import UsageError

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
    parser.add_argument(
        "--llm",
        type=Path,
        metavar="FILE",
        help="the command `llm` (pip install llm), which then asks through the proxy as well",
    )


def main(arguments: argparse.Namespace) -> None:
    """Ask every example question every way, then write the section. Raises UsageError."""
    bundle = open_bundle(arguments.bundle)
    model = bundle.path(MLLM)
    questions = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    with EdgeClient(bundle=bundle) as edge:
        streams = {name: edge.encode(EXAMPLES / f"{name}.png").to_bytes() for name in questions}
    prompts = [(name, one["prompt"]) for name, each in questions.items() for one in each]
    asked = [(streams[name], prompt) for name, prompt in prompts]
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
            with ProxyProcess(vllm.url) as proxy:
                way = "by `edge_client proxy`"
                answers[f"a PNG, {way}"] = [_ask_proxy(proxy.url, *each) for each in prompts]
                if arguments.llm is not None:
                    answers[f"a PNG, from {_version(arguments.llm)} {way}"] = [
                        _ask_llm(arguments.llm, proxy.url, *each) for each in prompts
                    ]
                sent = {name: proxy.total(name) for name in ("picture_bytes", "stream_bytes")}
            refusal = _refusal(http, asked[0][0])
            both = _ask_two(http, list(streams.values())[:2])
    rows = [[way, _equal(given, reference), _example(given)] for way, given in answers.items()]
    body = (
        f"{command_line(arguments.words)}\n\n"
        f"vLLM {version} on a CPU in float32, with the language model of bundle "
        f"{bundle.hex_id}; the {len(asked)} example questions of `examples/questions.json`, each "
        "answer beside that of our own server with the same stream.\n\n"
        + table(["what vLLM gets", "answers equal to ours", "to the first question"], rows)
        + f"\n\nA damaged stream in `image_url`: {refusal}. Two streams in one request: {both}. "
        f"The proxy sent {sent['picture_bytes']} bytes of pictures as {sent['stream_bytes']}."
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


def _ask_proxy(url: str, name: str, prompt: str) -> str:
    """As any program asks that knows nothing of streams: a PNG in a data URL."""
    png = base64.b64encode((EXAMPLES / f"{name}.png").read_bytes()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
        {"type": "text", "text": prompt},
    ]
    body = {"model": "tiny", "max_tokens": TOKENS, "temperature": 0}
    body["messages"] = [{"role": "user", "content": content}]
    answer = httpx.post(f"{url}/chat/completions", json=body, timeout=120).raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"]).strip()


def _ask_llm(llm: Path, url: str, name: str, prompt: str) -> str:
    """By a command that nobody here wrote; its settings lie in a folder of their own."""
    with tempfile.TemporaryDirectory() as settings:
        model = {"model_id": "proxied", "model_name": "tiny", "api_base": url, "vision": True}
        # JSON is YAML as well.
        (Path(settings) / "extra-openai-models.yaml").write_text(json.dumps([model]))
        command = [str(llm), "-m", "proxied", "-a", str(EXAMPLES / f"{name}.png"), "--no-stream"]
        command += ["-o", "temperature", "0", "-o", "max_tokens", str(TOKENS), "--no-log", prompt]
        environment = {**os.environ, "LLM_USER_PATH": settings, "OPENAI_API_KEY": "none"}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if done.returncode:
        raise UsageError(f"{llm} failed: {(done.stdout + done.stderr).strip()[-300:]}")
    return done.stdout.strip()


def _version(llm: Path) -> str:
    said = subprocess.check_output([str(llm), "--version"], text=True)
    return f"`llm` {said.split()[-1]}"


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
