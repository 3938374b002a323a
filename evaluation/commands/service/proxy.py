"""Programs that know nothing of streams, through `edge_client proxy`, before a real vLLM.

street.png --edge--> stream --> vLLM with `plugins.vllm`                        (the reference)
street.png --PNG--> edge_client proxy --stream--> the same vLLM
street.png --> `llm`, a command that nobody here wrote --PNG--> edge_client proxy --> the same vLLM
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from edge_client import EdgeClient
from evaluation.machine.proxy_process import ProxyProcess
from evaluation.machine.vllm_process import VllmProcess
from evaluation.report.document import command_line, table, write_section
from shared.bitstream import MEDIA_TYPE
from shared.bundle import MLLM, open_bundle
from shared.errors import UsageError

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
TOKENS: Final = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument(
        "--python",
        type=Path,
        required=True,
        metavar="FILE",
        help="interpreter of the environment with vLLM and this package",
    )
    parser.add_argument(
        "--llm",
        type=Path,
        required=True,
        metavar="FILE",
        help="the command `llm` (pip install llm)",
    )
    parser.add_argument("--questions", type=int, default=4, help="of each example picture")


def main(arguments: argparse.Namespace) -> None:
    """Ask every way, then write the section. Raises UsageError."""
    bundle = open_bundle(arguments.bundle)
    known = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    asked = [
        (name, question["prompt"])
        for name, each in known.items()
        for question in each[: arguments.questions]
    ]
    with EdgeClient(bundle=bundle) as edge:
        streams = {name: edge.encode(EXAMPLES / f"{name}.png").to_bytes() for name in known}
    pngs = {name: (EXAMPLES / f"{name}.png").read_bytes() for name in known}
    with VllmProcess(arguments.python, bundle.path(MLLM)) as vllm:
        version = vllm.version()
        with ProxyProcess(vllm.url) as proxy:
            reference = [_ask(f"{vllm.url}/v1", MEDIA_TYPE, streams[n], p) for n, p in asked]
            behind = [
                _ask(f"{vllm.url}/v1", MEDIA_TYPE, streams[n], p, text_first=True) for n, p in asked
            ]
            plain = [_ask(proxy.url, "image/png", pngs[name], prompt) for name, prompt in asked]
            other = [_ask_llm(arguments.llm, proxy.url, name, prompt) for name, prompt in asked]
            names = ("pictures", "picture_bytes", "stream_bytes", "saved_bytes")
            total = {name: proxy.total(name) for name in names}
    rows = [
        ["an HTTP client, PNG in a data URL", _equal(plain, reference), f"`{plain[0]}`"],
        [f"{_version(arguments.llm)}, `-a street.png`", _equal(other, behind), f"`{other[0]}`"],
    ]
    body = (
        f"{command_line(arguments.words)}\n\n"
        f"vLLM {version} on a CPU with `plugins.vllm` and the language model of bundle "
        f"{bundle.hex_id}, behind `edge_client proxy`; {len(asked)} of the example questions, each "
        "answer beside that of the same vLLM to the stream itself, text and picture in the order "
        f"of the program. `llm` writes the text first, which this model was not trained on: "
        f"{_equal(behind, reference)} answers are the same either way.\n\n"
        + table(["the program", "answers equal", "to the first question"], rows)
        + f"\n\nThe proxy sent {total['pictures']} pictures of {total['picture_bytes']} bytes as "
        f"{total['stream_bytes']}; bodies had {total['saved_bytes']} bytes less than came."
    )
    write_section(arguments.report, "proxy", body)
    print(body)


def _ask(url: str, kind: str, picture: bytes, prompt: str, text_first: bool = False) -> str:
    place = f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": place}},
        {"type": "text", "text": prompt},
    ]
    if text_first:
        content.reverse()
    body = {"model": "tiny", "max_tokens": TOKENS, "temperature": 0}
    messages = [{"role": "user", "content": content}]
    answer = httpx.post(f"{url}/chat/completions", json={**body, "messages": messages}, timeout=300)
    return str(answer.raise_for_status().json()["choices"][0]["message"]["content"]).strip()


def _ask_llm(llm: Path, url: str, name: str, prompt: str) -> str:
    """By a command that nobody here wrote; its settings lie in a folder of their own."""
    with tempfile.TemporaryDirectory() as settings:
        model = {"model_id": "proxied", "model_name": "tiny", "api_base": url, "vision": True}
        # JSON is YAML as well.
        (Path(settings) / "extra-openai-models.yaml").write_text(json.dumps([model]))
        command = [str(llm), "-m", "proxied", "-a", str(EXAMPLES / f"{name}.png"), "--no-stream"]
        command += ["-o", "temperature", "0", "-o", "max_tokens", str(TOKENS), "--no-log", prompt]
        environment = {**os.environ, "LLM_USER_PATH": settings, "OPENAI_API_KEY": "none"}
        completed = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if completed.returncode:
        raise UsageError(f"{llm} failed: {(completed.stdout + completed.stderr).strip()[-300:]}")
    return completed.stdout.strip()


def _version(llm: Path) -> str:
    said = subprocess.check_output([str(llm), "--version"], text=True)
    return f"`llm` {said.split()[-1]}"


def _equal(given: list[str], reference: list[str]) -> str:
    same = sum(a == b for a, b in zip(given, reference, strict=True))
    return f"{same} of {len(reference)}"
