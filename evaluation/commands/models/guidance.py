"""Which level map saves most: layers, cells, levels, thresholds and steps, at equal accuracy.

One process; what a picture needs once is made once: its attention in all layers, its latent.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from evaluation.codecs.cotam import CotamCodec, Received, without_adapter
from evaluation.judges.accuracy import VIEWS, Condition, Measured, collect
from evaluation.judges.conditions import Transmit, transmitter
from evaluation.judges.equal_accuracy import overall
from evaluation.judges.grading import Grader
from evaluation.judges.options import add_scene_options
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import SEED, resamples
from evaluation.towers.attention import Tower
from evaluation.towers.level_maps import Guiding, attention_of, parse_guiding
from evaluation.towers.load import load_tower
from scenes import VERSION, Backgrounds, Scene, render
from shared.bundle import ADAPTER, MLLM, Bundle, open_bundle

PICTURES: Final = 40
QUALITIES: Final = (0.0, 1.0, 3.0, 4.5)
RESAMPLES: Final = 400
THRESHOLDS: Final = (
    *((2, k) for k in (0.0, 0.25)),
    *((levels, k) for levels in (3, 5) for k in (0.25, 0.5, 0.75, 1.0)),
)  # levels, k
STEPS: Final = (10, 20, 30, 40, 60)
NEAR: Final = 3.0
"""The quality at which bytes are given."""

Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scene_options(parser, PICTURES, QUALITIES)
    parser.add_argument(
        "--only", nargs="*", choices=("layers", "grid", "step"), help="groups; default: all"
    )
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="SETTINGS",
        help="other level maps, as 'layers=1,2 cell=16 levels=5 k=0.5 step=20'",
    )
    parser.add_argument("--no-adapter", action="store_true", help="the decoded picture alone")


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write the table."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    tower = load_tower(str(bundle.path(MLLM)))
    groups = level_maps(bundle, tower.layers)
    if arguments.only is not None:
        groups = {name: groups[name] for name in arguments.only}
    usual = usual_of(bundle)
    if arguments.also:
        groups["others"] = [parse_guiding(text, usual) for text in arguments.also]
    records = Records(arguments.results / "scenes.jsonl")
    adapts = not arguments.no_adapter and bundle.has(ADAPTER)
    every = list(dict.fromkeys(guiding for group in groups.values() for guiding in group))
    measure(bundle, tower, every, arguments.pictures, arguments.qualities, adapts, records)
    measured = collect(records, bundle.hex_id, arguments.pictures)
    body = text(measured, groups, usual, adapts, records, bundle, arguments)
    write_section(arguments.report, "guidance", body)


def usual_of(bundle: Bundle) -> Guiding:
    """The bundle's own level map."""
    settings = bundle.manifest.guidance
    return Guiding(cell=settings.cell, levels=settings.levels, k=settings.k, step=settings.step)


def level_maps(bundle: Bundle, layers: int) -> dict[str, list[Guiding]]:
    """What is compared by group, the bundle's own level map among each, for a tower of `layers`."""
    usual = usual_of(bundle)
    third = layers // 3
    groups = [*((n,) for n in range(1, layers + 1)), (1, 2, 3)]
    groups += [tuple(range(1 + third * i, 1 + third * (i + 1))) for i in (1, 2)]
    return {
        "layers": [replace(usual, layers=group) for group in groups],
        "grid": [
            replace(usual, cell=cell, levels=levels, k=k)
            for cell, (levels, k) in product((32, 16), THRESHOLDS)
        ],
        "step": [replace(usual, step=step) for step in STEPS],
    }


def measure(
    bundle: Bundle,
    tower: Tower,
    guidings: list[Guiding],
    pictures: int,
    qualities: list[float],
    adapts: bool,
    records: Records,
) -> None:
    """Ask about scenes 0 .. pictures - 1 without and with each level map, at each quality."""
    cotam, grader = CotamCodec(bundle), Grader(bundle, records)
    backgrounds = Backgrounds.builtin()
    maps = {_name(guiding, adapts): guiding for guiding in guidings}
    conditions = [
        Condition(name, quality) for name in (_name(None, adapts), *maps) for quality in qualities
    ]
    for index in tqdm(range(pictures), desc="guidance", unit="picture"):
        scene = render("test", index, backgrounds)
        attention = functools.cache(functools.partial(attention_of, tower, scene.picture))
        for guiding in guidings:
            records.measure(
                _map_key(guiding, bundle, index),
                functools.partial(_describe, guiding, attention, scene),
            )
        grader.grade(index, scene, conditions, _show(cotam, attention, scene, maps, adapts))


def _show(
    cotam: CotamCodec,
    attention: Callable[[], Array],
    scene: Scene,
    maps: Mapping[str, Guiding],
    adapts: bool,
) -> Transmit:
    usual = transmitter(scene.picture, cotam)
    analysed = functools.cache(lambda: cotam.analyse(scene.picture, False))

    def show(condition: Condition) -> Received:
        if condition.codec not in maps:
            return usual(condition)
        level_map = maps[condition.codec].level_map(attention(), scene.picture)
        size, decoded = cotam.send(replace(analysed(), level_map=level_map), condition.quality)
        return size, decoded if adapts else without_adapter(decoded)

    return show


def _name(guiding: Guiding | None, adapts: bool) -> str:
    """The codec under which a level map is written down; without one it is a view of `scenes`."""
    if guiding is None:
        return "adapter" if adapts else "base"
    return f"{guiding}{'; adapter' if adapts else ''}"


def _map_key(guiding: Guiding, bundle: Bundle, index: int) -> Fields:
    return {"scenes": VERSION, "level map": str(guiding), "bundle": bundle.hex_id, "picture": index}


def _describe(guiding: Guiding, attention: Callable[[], Array], scene: Scene) -> Fields:
    """Bytes of a level map, and the shares of cells that get fewer and more bits."""
    level_map = guiding.level_map(attention(), scene.picture)
    return {
        "bytes": len(level_map.encode()),
        "fewer": float((level_map.offsets < 0).mean()),
        "more": float((level_map.offsets > 0).mean()),
    }


def text(
    measured: Measured,
    groups: dict[str, list[Guiding]],
    usual: Guiding,
    adapts: bool,
    records: Records,
    bundle: Bundle,
    arguments: argparse.Namespace,
) -> str:
    """Bits at equal accuracy of each level map against none."""
    weights = resamples(len(measured.questions), RESAMPLES)
    rows = []
    for group, guidings in groups.items():
        for guiding in guidings:
            name = _name(guiding, adapts)
            maps = [
                records.get(_map_key(guiding, bundle, i)) or {} for i in range(arguments.pictures)
            ]
            size, fewer, more = (
                float(np.mean([level_map[field] for level_map in maps]))
                for field in ("bytes", "fewer", "more")
            )
            near = min(measured.of(name), key=lambda c: abs(c.quality - NEAR))
            stream = float(measured.size(near, weights)[0])
            rows.append(
                [
                    f"{group}: {guiding}{' (the bundle)' if guiding == usual else ''}",
                    f"{100 * fewer:.0f} / {100 * more:.0f} %",
                    f"{size:.1f}",
                    f"{100 * size / stream:.1f} %",
                    f"{stream:.0f}",
                    *overall(measured, name, _name(None, adapts), weights),
                ]
            )
    head = ["level map", "cells with fewer / more bits", "its bytes", "of the stream"]
    head += [f"stream, quality {NEAR:g}", "bits at equal accuracy", "bits at equal probability"]
    view = VIEWS["full"] if adapts else VIEWS["guidance"]
    qualities = ", ".join(f"{quality:g}" for quality in arguments.qualities)
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Scenes 0 to {arguments.pictures - 1} of the test split, "
            f"{int(measured.questions[:, 0].sum())} questions, at the qualities {qualities}; "
            f"*{view}* of bundle {bundle.hex_id} against the same without level map, whole files. "
            "Bits at equal accuracy as in the section before; at equal mean probability of the "
            "right answer, which tells smaller differences apart. In brackets the middle 95 % of "
            f"{RESAMPLES} resamples of the pictures (seed {SEED}). Of two levels the one "
            "gets fewer bits, below mu + k sigma of the importance, and the other more.",
            table(head, rows),
        ]
    )
