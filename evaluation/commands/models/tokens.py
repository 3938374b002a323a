"""Answers and time where a language model reads fewer tokens of a picture, by its level map.

scene --stream--> features [N, D] --COTAM_KEEP_TOKENS--> [K, D] --the service's code--> answers
random weights of a true shape, few layers --K + 64 tokens--> processor time of a prompt
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import LlamaConfig, LlamaModel

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import VisualInput
from cloud_server.inference.mllm.pruning import prune
from cloud_server.inference.mllm.tower import Looked
from cloud_server.inference.work import Work
from evaluation.codecs.cotam import CotamCodec
from evaluation.judges.families import FAMILIES, OVERALL, Posed
from evaluation.judges.packed_questions import PackedLlava
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from scenes import VERSION, Backgrounds, Scene, render
from scenes.questions import family
from shared.bundle import Bundle, open_bundle

SHARES: Final = (1.0, 0.75, 0.5, 0.35, 0.25, 0.1)
ANSWER: Final = 16  # tokens at most
QUESTION: Final = 64  # tokens around a picture, of the prompt that is timed
TIMES: Final = 3
LARGE: Final = LlamaConfig(
    vocab_size=1024,
    hidden_size=4096,
    intermediate_size=11008,
    num_attention_heads=32,
    num_hidden_layers=2,
)
"""A language model of 7 billion weights, were it 32 layers deep."""
LARGE_TOKENS: Final = 576
"""Of a picture in LLaVA-1.5."""
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=100, help="test scenes")
    parser.add_argument("--quality", type=float, default=3.0)
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, one thread, then write the section."""
    torch.set_num_threads(1)
    records = Records(arguments.results / "tokens.jsonl")
    bundle = open_bundle(arguments.bundle)
    measured = _accuracy(bundle, arguments.pictures, arguments.quality, records)
    times = {name: _times(name, records) for name in ("tiny", "large")}
    write_section(arguments.report, "tokens", _text(measured, times, bundle, arguments))


def _accuracy(bundle: Bundle, pictures: int, quality: float, records: Records) -> list[Fields]:
    """Of each scene the families of its questions, the tokens of its picture and what was right."""
    codec, llava = CotamCodec(bundle), PackedLlava(bundle)
    backgrounds = Backgrounds.builtin()
    measured = []
    for index in tqdm(range(pictures), desc="answers", unit="picture", file=sys.stderr):
        scene = render("test", index, backgrounds)
        key = {
            **{"scenes": VERSION, "index": index, "crc": zlib.crc32(scene.picture.tobytes())},
            **{"bundle": bundle.hex_id, "quality": quality, "shares": [*SHARES]},
        }
        measured.append(records.measure(key, _ask, codec, llava, scene, quality))
    return measured


def _ask(codec: CotamCodec, llava: PackedLlava, scene: Scene, quality: float) -> Fields:
    decoded = codec.send(codec.analyse(scene.picture, True), quality)[1]
    look: Looked = llava.backend.see([decoded])[0].content
    tokens, right = [], []
    for share in SHARES:
        read = _read(llava, decoded, look, share)
        tokens.append(len(read.features))
        shown = VisualInput("adapter", read, 0)
        works = [Work(None, asked.prompt, ANSWER, visual=shown) for asked in scene.questions]
        if works:
            llava.backend.answer([work.request() for work in works])
        said = [work.answer.text if work.answer else "" for work in works]
        pairs = zip(said, scene.questions, strict=True)
        right.append([int(text == asked.answer) for text, asked in pairs])
    families = [family(scene, question) for question in scene.questions]
    return {"families": families, "tokens": tokens, "right": right}


def _read(llava: PackedLlava, decoded: Decoded, look: Looked, share: float) -> Looked:
    places = llava.backend.tower.vision.places(look.height, look.width)
    assert places is not None
    pruned = None
    if decoded.level_map is not None:
        pruned = prune(decoded.codes, places, look.height, look.width, share)
    if pruned is None:
        return look
    return replace(look, features=pruned.of(look.features), pruned=pruned)


def _times(name: str, records: Records) -> list[float]:
    """Milliseconds of processor time of a prompt, by share of its picture's tokens."""
    config, tokens = (LARGE, LARGE_TOKENS) if name == "large" else (_tiny(), 256)

    def measure() -> Fields:
        model = LlamaModel(config).eval()
        return {"ms": [_time(model, round(tokens * share) + QUESTION) for share in SHARES]}

    ms: list[float] = records.measure({"prompt of": name, "shares": [*SHARES]}, measure)["ms"]
    return ms


def _tiny() -> LlamaConfig:
    """The language model of `tiny`."""
    return LlamaConfig(
        vocab_size=220,
        hidden_size=192,
        intermediate_size=512,
        num_attention_heads=4,
        num_hidden_layers=4,
    )


@torch.inference_mode()
def _time(model: LlamaModel, tokens: int) -> float:
    prompt = torch.randn(1, tokens, model.config.hidden_size)
    taken = []
    for _ in range(TIMES):
        start = time.process_time()
        model(inputs_embeds=prompt)
        taken.append(1000 * (time.process_time() - start))
    return float(np.median(taken))


def _text(
    measured: list[Fields],
    times: dict[str, list[float]],
    bundle: Bundle,
    arguments: argparse.Namespace,
) -> str:
    measured = [fields for fields in measured if fields["families"]]
    weights = resamples(len(measured))
    overall = _right(measured, OVERALL)
    asked = np.array([_members(fields["families"], OVERALL).sum() for fields in measured])
    accuracy = weights @ overall / (weights @ asked)[:, None]
    tokens = np.mean([fields["tokens"] for fields in measured], axis=0)
    rows = [
        [
            f"{share:g}",
            f"{tokens[n]:.0f}",
            f"{100 * accuracy[0, n]:.1f}",
            "" if not n else with_interval(accuracy[:, n] - accuracy[:, 0]).replace(" %", ""),
            *(f"{ms[n]:.0f} ms ({100 * ms[n] / ms[0]:.0f} %)" for ms in times.values()),
        ]
        for n, share in enumerate(SHARES)
    ]
    head = [
        "share",
        "tokens read",
        "right, %",
        "points",
        "prompt of `tiny`",
        "of 7 billion's shape",
    ]
    by_task = [
        [
            name,
            f"{_asked(measured, name)}",
            *(f"{100 * x / _asked(measured, name):.1f}" for x in sums),
        ]
        for name in FAMILIES
        if _asked(measured, name)
        for sums in [_right(measured, name).sum(0)]
    ]
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{len(measured)} test scenes, {int(asked.sum())} questions, streams of quality "
            f"{arguments.quality:g} with level map, bundle {bundle.hex_id}. *Share* is "
            "`COTAM_KEEP_TOKENS`; answers are those of the service's own code. In brackets the "
            f"middle 95 % of {RESAMPLES} resamples of the scenes (seed {SEED}), both sides drawn "
            "alike. Time is processor time of one thread to read a prompt of the picture's tokens "
            f"and {QUESTION} others, the median of {TIMES}: of `tiny`'s language model (256 tokens "
            f"a picture), and of {LARGE.num_hidden_layers} layers of a model of 7 billion weights "
            f"(hidden {LARGE.hidden_size}, {LARGE.num_attention_heads} heads, "
            f"{LARGE.intermediate_size}; random, {LARGE_TOKENS} tokens a picture, float32).",
            table(head, rows),
            "By task, in percent:",
            table(["task", "questions", *(f"{share:g}" for share in SHARES)], by_task),
        ]
    )


def _right(measured: list[Fields], column: str) -> Array:
    """Right answers f64 [P, shares] to the questions of a column."""
    return np.array(
        [
            np.array(fields["right"], float) @ _members(fields["families"], column)
            for fields in measured
        ]
    )


def _asked(measured: list[Fields], column: str) -> int:
    return int(sum(_members(fields["families"], column).sum() for fields in measured))


def _members(families: list[str], column: str) -> Array:
    return np.array([float(column in Posed(name, "").columns) for name in families])
