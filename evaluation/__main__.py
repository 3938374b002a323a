"""`python -m evaluation COMMAND`: every number and plot of the results, one command each."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

from shared.errors import CotamError, exit_code

COMMANDS = {
    "codec": ("pictures", "fidelity over bits per pixel against JPEG, WebP and AVIF"),
    "nested": ("pictures", "a stream and its enhancements over one stream of the last quality"),
    "reading": ("pictures", "characters that a real reader finds again, over bytes"),
    "classifying": ("pictures", "answers of a real classifier that stay the same, over bytes"),
    "video": ("pictures", "clips over the codecs between: bytes, PSNR, answers about motion"),
    "sheet": ("pictures", "pictures side by side at equal bytes"),
    "page_sheet": (
        "pictures",
        "print side by side at equal bytes: a page, a chart, a screen, a photograph",
    ),
    "scenes": ("models", "accuracy by task over quality, with and without guidance and adapter"),
    "rate_accuracy": ("models", "bits at equal accuracy, from what `scenes` measured"),
    "answers": ("models", "accuracy of any language model on any questions about pictures"),
    "ask_back": ("models", "bytes an answer where the model asks back, against one stream"),
    "focus": ("models", "bits at equal accuracy where a picture is coded for its question"),
    "tokens": ("models", "answers and time where fewer tokens of a picture are read"),
    "calibration": ("models", "whether a model's confidence is how often it is right"),
    "benchmarks": ("models", "bits at equal score of one's own model on the usual sets"),
    "guidance": ("models", "level maps compared: layers, cells, levels, thresholds, steps"),
    "quantisation": (
        "models",
        "what rounding, dead zones and fewer bits of networks cost by task, and save in time",
    ),
    "ablations": ("models", "what each part of the method gives: without it, the rest as it was"),
    "information_flow": (
        "models",
        "attention distance and token similarity of each layer of a vision tower",
    ),
    "towers": ("models", "cost of the whole road for towers of other models, random weights"),
    "bench": ("service", "time and memory of each stage against other codecs"),
    "vllm": (
        "service",
        "a real vLLM beside our server: the same answers, by picture, features and stream",
    ),
    "proxy": ("service", "programs of others through the proxy, before a real vLLM"),
    "lmms": ("service", "a real lmms-eval on Scenes, with and without a stream in between"),
    "web": (
        "service",
        "the edge in a browser beside the edge in Python: symbols, answers, bytes, time",
    ),
    "load": (
        "service",
        "the service under load: speed, memory, overload, the end, and our share of it",
    ),
    "ask_latency": ("service", "time of an answer by line, asked back and not"),
    "wire": ("service", "bytes of a question as they travel, both ways"),
    "busy": ("service", "an answer beside a busy core, by threads that spin and that sleep"),
    "fuzz": ("service", "damaged streams: how each of many thousands ends"),
    "first_steps": ("documents", "the README's ways, each tried in an empty environment"),
    "headlines": ("documents", "the first lines of the results, from what the others wrote"),
}
"""Command: its room in `commands`, and what it measures."""

PAGES = {
    "codec": ("codec", "sheet"),
    "scenes": (
        *("scenes", "rate_accuracy", "answers", "guidance", "ablations"),
        *("information_flow", "quantisation"),
    ),
    "pictures": ("reading", "classifying", "page_sheet"),
    "asking": ("ask_back", "ask_latency", "calibration", "nested", "focus", "tokens"),
    "clips": ("video",),
    "towers": ("towers", "benchmarks"),
    "speed": ("bench", "busy"),
    "service": ("load", "wire", "fuzz"),
    "places": ("first_steps", "vllm", "lmms", "proxy", "web"),
}
"""Page of docs/results: the commands that write its sections."""


def main() -> None:
    """Parse the command line and hand over to the command's `main`."""
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        # Commands import torch, some transformers: load what was asked for alone.
        commands.add_parser(name, help=text, add_help=False)
    chosen, rest = parser.parse_known_args()
    module, own = loaded(chosen.command)
    arguments = own.parse_args(rest)
    arguments.words = (chosen.command, *rest)
    try:
        module.main(arguments)
    except CotamError as error:
        print(f"python -m evaluation: {error}", file=sys.stderr)
        raise SystemExit(exit_code(error)) from error


def loaded(command: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """A command's module and the parser of its options."""
    room, text = COMMANDS[command]
    module = importlib.import_module(f"evaluation.commands.{room}.{command}")
    parser = argparse.ArgumentParser(prog=f"python -m evaluation {command}", description=text)
    module.add_arguments(parser)
    parser.add_argument("--report", type=Path, default=page_of(command))
    parser.add_argument("--results", type=Path, default=Path("runs/results"), help="raw numbers")
    return module, parser


def page_of(command: str) -> Path:
    """Where a command's section stands, in a checkout."""
    pages = [page for page, commands in PAGES.items() if command in commands]
    return Path("docs/results", f"{pages[0]}.md") if pages else Path("docs/results.md")


if __name__ == "__main__":
    main()
