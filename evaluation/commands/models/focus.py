"""Bits at equal accuracy where a picture is coded for its question, against one map for all.

scene, question --level map: without, with focus, with the truth in its place--> answer
"""

from __future__ import annotations

import argparse
import sys
import zlib
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from edge_client.guidance.focus import Focus, focused, relevance
from evaluation.codecs.cotam import CotamCodec
from evaluation.judges.packed_questions import PackedLlava
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, resamples, with_interval
from evaluation.stats.curves import Curve, bd_rate_monotone
from scenes import VERSION, Backgrounds, Question, Scene, render
from scenes.questions import family
from scenes.world import COLOURS, KINDS, PLURALS
from shared.bundle import open_bundle
from shared.level_map import CELLS, LevelMap

WAYS: Final = {
    "without": "one map for all questions",
    "focus": "with `--focus`",
    "truth": "were it known where things are",
}
MIN_SPAN: Final = 0.01  # of a score that two curves must have in common
SEEN: Final = 4  # pixels of a thing from which a cell shows it
KNOWN: Final = (*KINDS, *COLOURS)
TRUTH: Final = Focus(
    {name: n for n, name in enumerate(KNOWN)} | {PLURALS[k]: KNOWN.index(k) for k in KINDS}
)
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=100, help="scenes")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--qualities", type=float, nargs="+", default=[0.0, 1.0, 2.0, 3.0])
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, one thread, then write the section."""
    torch.set_num_threads(1)
    records = Records(arguments.results / "focus.jsonl")
    codec = CotamCodec(open_bundle(arguments.bundle))
    llava = PackedLlava(codec.bundle)
    backgrounds = Backgrounds.builtin()
    measured = []
    for index in tqdm(range(arguments.pictures), desc="focus", unit="picture", file=sys.stderr):
        scene = render(arguments.split, index, backgrounds)
        key = {
            **{"scenes": VERSION, "split": arguments.split, "index": index},
            **{"crc": zlib.crc32(scene.picture.tobytes()), "bundle": codec.bundle.hex_id},
            "qualities": arguments.qualities,
        }
        if scene.questions:
            measured.append(records.measure(key, _ask, codec, llava, scene, arguments.qualities))
    write_section(
        arguments.report, "focus", _text(measured, codec.bundle.codec_id.hex(), arguments)
    )


def _ask(codec: CotamCodec, llava: PackedLlava, scene: Scene, qualities: list[float]) -> Fields:
    """By way and question: bytes, right answers and their probabilities at each quality."""
    analysed = codec.analyse(scene.picture, True)
    names = [family(scene, question) for question in scene.questions]
    by_way: dict[str, list[Any]] = {way: [None] * len(names) for way in WAYS}
    for way in WAYS:
        maps: dict[bytes, tuple[LevelMap | None, list[int]]] = {}
        for number, question in enumerate(scene.questions):
            level_map = _map(codec, scene, question, way)
            name = b"" if level_map is None else level_map.encode()
            maps.setdefault(name, (level_map, []))[1].append(number)
        for level_map, numbers in maps.values():
            mapped = replace(analysed, level_map=level_map)
            sent = [codec.send(mapped, quality) for quality in qualities]
            asked = [llava.ask(scene.questions[number]) for number in numbers]
            grades = llava.grade(llava.see([decoded for _, decoded in sent]), asked)
            sizes = [size for size, _ in sent]
            for place, number in enumerate(numbers):
                right = grades.right[:, place].astype(int).tolist()
                probable = grades.probable[:, place].astype(float).round(4).tolist()
                by_way[way][number] = [sizes, right, probable]
    return {"families": names, **by_way}


def _map(codec: CotamCodec, scene: Scene, question: Question, way: str) -> LevelMap | None:
    if way == "focus":
        return codec.encoder.level_map(scene.picture, question.prompt)
    usual = codec.encoder.level_map(scene.picture)
    things = TRUTH.things(question.prompt)
    if way == "without" or usual is None or not things:
        return usual
    return focused(usual, relevance(_shown(scene), things))


def _shown(scene: Scene) -> Array:
    """Whether each cell shows what each of KNOWN names, f32 [words, rows, columns]."""
    cell = CELLS[0]
    rows, columns = (length // cell for length in scene.mask.shape)
    blocks = scene.mask.reshape(rows, cell, columns, cell)
    shown = np.zeros((len(KNOWN), rows, columns), np.float32)
    for number, thing in enumerate(scene.objects, start=1):
        visible = (blocks == number).sum((1, 3)) >= SEEN
        for name in (thing.kind, thing.colour):
            shown[KNOWN.index(name)][visible] = 1
    return shown


def _text(measured: list[Fields], codec: str, arguments: argparse.Namespace) -> str:
    weights = resamples(len(measured))
    sums = {way: np.array([_sums(fields, way) for fields in measured]) for way in WAYS}  # [P, 4, Q]
    rows = []
    for way, label in WAYS.items():
        curves = _curves(sums[way], weights)
        changes = ["", ""]
        if way != "without":
            changes = [
                with_interval(_change(_curves(sums["without"], weights), curves, score))
                for score in (1, 2)
            ]
        points = [
            f"{100 * right:.1f} at {size:.0f}"
            for size, right in zip(curves[0, 0], curves[0, 1], strict=True)
        ]
        rows.append([label, *points, *changes])
    head = ["level map", *(f"quality {quality:g}" for quality in arguments.qualities)]
    head += ["bits at equal accuracy", "at equal probability"]
    asked = int(sums["without"][:, 3, 0].sum())
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{len(measured)} scenes of the {arguments.split} split, {asked} questions, codec "
            f"{codec}; each question has its own stream. Cells: right answers in percent at mean "
            "bytes. Bits at equal accuracy, and at equal mean probability of the right answer, "
            f"against the first row; below 0 is fewer. In brackets the middle 95 % of {RESAMPLES} "
            f"resamples of the scenes (seed {SEED}), both sides drawn alike; *none* where the "
            "curves have less than one point in common. The last row puts the truth of a scene in "
            "the place of what the graph finds: what finding better could bring.",
            table(head, rows),
        ]
    )


def _sums(fields: Fields, way: str) -> Array:
    """Bytes, right answers, probabilities and questions, summed over those of a scene [4, Q]."""
    kept = [
        value
        for name, value in zip(fields["families"], fields[way], strict=True)
        if name != "unknown"
    ]
    if not kept:
        return np.zeros((4, len(fields[way][0][0])))
    sums = np.array(kept, np.float64).sum(0)
    totals: Array = np.concatenate([sums, np.full((1, sums.shape[1]), float(len(kept)))])
    return totals


def _curves(sums: Array, weights: Array) -> Array:
    """Mean bytes, accuracy and probability [R, 3, Q]."""
    totals = np.einsum("rp,pkq->rkq", weights, sums)
    curves: Array = totals[:, :3] / totals[:, 3:]
    return curves


def _change(anchor: Array, test: Array, score: int) -> Array:
    return np.array(
        [
            bd_rate_monotone(Curve(a[0], a[score]), Curve(b[0], b[score]), MIN_SPAN)
            for a, b in zip(anchor, test, strict=True)
        ]
    )
