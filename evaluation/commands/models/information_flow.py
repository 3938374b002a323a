"""How a vision tower works layer by layer, and where compression hurts it (CoTAM, section 3).

D_avg  = 1/N sum_ij A_ij d(p_i, p_j)          how far patches look
D_top1 = 1/N sum_i d(p_i, p_argmax_j A_ij)    how far the most attended patch is
cosine similarity of each token, original against compressed, after each layer
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.codecs.cotam import CotamCodec
from evaluation.report import plots
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.towers.attention import Flow, Tower
from evaluation.towers.load import load_tower
from scenes import Backgrounds, render
from shared.bundle import MLLM, open_bundle

SIDE: Final = 256
QUALITIES: Final = (0.0, 2.0, 4.0, 6.0)
SHADES: Final = ("#f3b0c8", "#de6f9b", "#c2256b", "#7a0f3f")
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tower", help="folder, hub id or open_clip:MODEL:PRETRAINED; default: the bundle's"
    )
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--pictures", type=int, default=40, help="scenes of the test split")
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--threads", type=int, default=1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write table and plot."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    tower = load_tower(arguments.tower or str(bundle.path(MLLM)))
    records = Records(arguments.results / "information_flow.jsonl")
    values = measure(tower, CotamCodec(bundle, arguments.threads), arguments, records)
    distances = {
        name: np.mean([value[name] for value in values], axis=0) for name in ("average", "top")
    }
    similar = {
        quality: np.mean([value["cosine"][f"{quality:g}"] for value in values], axis=0)
        for quality in arguments.qualities
    }
    draw(distances, similar, arguments)
    parts = [text(distances, similar, arguments, bundle.hex_id), _image()]
    write_section(arguments.report, "information_flow", "\n\n".join(parts))


def measure(
    tower: Tower, cotam: CotamCodec, arguments: argparse.Namespace, records: Records
) -> list[Fields]:
    """Distances and similarities by layer of each picture."""
    backgrounds = Backgrounds.builtin()
    values = []
    for index in range(arguments.pictures):
        progress = f"information_flow: {index + 1} of {arguments.pictures}"
        print(progress, end="\r", file=sys.stderr, flush=True)
        key = {
            "tower": tower.fingerprint,
            "bundle": cotam.bundle.hex_id,
            "index": index,
            "qualities": arguments.qualities,
        }
        values.append(
            records.measure(key, _measure, tower, cotam, backgrounds, index, arguments.qualities)
        )
    print(file=sys.stderr)
    return values


def _measure(
    tower: Tower, cotam: CotamCodec, backgrounds: Backgrounds, index: int, qualities: list[float]
) -> Fields:
    picture = render("test", index, backgrounds, (SIDE, SIDE)).picture
    flow = tower(picture)
    average, top = attention_distances(flow.attention, tower.grid)
    analysed = cotam.analyse(picture, False)
    cosine = {}
    for quality in qualities:
        decoded = cotam.decode(cotam.encode(analysed, quality)).picture
        cosine[f"{quality:g}"] = similarity(flow, tower(decoded)).tolist()
    return {"average": average.tolist(), "top": top.tolist(), "cosine": cosine}


def attention_distances(attention: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """D_avg and D_top1 [L], in patches, of attention [L, N, N] on a square grid of N patches."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    distance = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
    average = (attention * distance).sum(dim=-1).mean(dim=-1)
    most = attention.argmax(dim=-1)  # [L, N]
    return average, distance[torch.arange(len(places)), most].mean(dim=-1)


def similarity(first: Flow, second: Flow) -> Tensor:
    """Mean cosine similarity of tokens [L + 1], before the first layer and after each."""
    return torch.cosine_similarity(first.states, second.states, dim=-1).mean(dim=-1)


def local_stage(average: Array) -> tuple[int, int]:
    """First and last layer (from 0) around the nearest attention that are nearer than midway.

    Midway is between the least and the greatest D_avg. Before it lies broad screening, after it
    global integration; where the curve has no U, one of the two is empty.
    """
    midway = (average.min() + average.max()) / 2
    first = last = int(average.argmin())
    while first > 0 and average[first - 1] < midway:
        first -= 1
    while last < len(average) - 1 and average[last + 1] < midway:
        last += 1
    return first, last


STAGES: Final = ("broad screening", "local extraction", "global integration")


def findings(distances: dict[str, Array], similar: dict[float, Array]) -> str:
    """What the curves show, beside what the paper found in CLIP ViT-L."""
    average = distances["average"]
    first, last = local_stage(average)
    bounds = ((1, first), (first + 1, last + 1), (last + 2, len(average)))
    stages = ", ".join(f"{n} {_layers(*bound)}" for n, bound in zip(STAGES, bounds, strict=True))
    if first > 0 and last < len(average) - 1:
        shape = "D_avg has the paper's U"
    elif first > 0:
        shape = (
            "D_avg falls and does not rise past the middle again, where the paper's curve is a U"
        )
    elif last < len(average) - 1:
        shape = "D_avg rises from the first layers on, where the paper's curve is a U"
    else:
        shape = "D_avg hardly changes, where the paper's curve is a U"
    quality, worst = min(similar.items())
    falls = -np.diff(worst)
    most = int(falls.argmax())
    if falls[most] <= 0:
        return f"Stages: {stages}. {shape}. At quality {quality:g} similarity falls in no layer."
    stage = next(
        n for n, (low, high) in zip(STAGES, bounds, strict=True) if low <= most + 1 <= high
    )
    agrees = (
        "as in the paper"
        if (stage, most) == (STAGES[2], bounds[2][0] - 1)
        else "where the paper finds the sharpest fall at the start of global integration"
    )
    return (
        f"Stages: {stages}. {shape} ({average.min():.1f} to {average.max():.1f} patches). At "
        f"quality {quality:g} the similarity of tokens falls most in layer {most + 1} ({stage}), "
        f"by {falls[most]:.3f}, {agrees}."
    )


def _layers(first: int, last: int) -> str:
    if last < first:
        return "(no layer)"
    return f"(layer {first})" if first == last else f"(layers {first} to {last})"


def text(
    distances: dict[str, Array],
    similar: dict[float, Array],
    arguments: argparse.Namespace,
    bundle_id: str,
) -> str:
    """What was measured, and the numbers by layer."""
    rows = [["before", "-", "-", *(f"{cosines[0]:.4f}" for cosines in similar.values())]]
    for layer, (average, top) in enumerate(zip(*distances.values(), strict=True)):
        similarities = [f"{cosines[layer + 1]:.4f}" for cosines in similar.values()]
        rows.append([str(layer + 1), f"{average:.2f}", f"{top:.2f}", *similarities])
    head = ["after layer", "D_avg", "D_top1", *(f"cosine, quality {q:g}" for q in similar)]
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"{arguments.pictures} scenes of the test split (indices from 0), coded without level "
            f"map by bundle {bundle_id}. Distances in patches, attention of patches to patches "
            "without [CLS], mean over heads. Attention counts as near below the middle between the "
            "least and the greatest D_avg: these layers are local extraction, those before them "
            "broad screening, those after them global integration.",
            findings(distances, similar),
            table(head, rows),
        ]
    )


def draw(
    distances: dict[str, Array], similar: dict[float, Array], arguments: argparse.Namespace
) -> None:
    """Distances, and similarities at each quality, over the layers."""
    made, (left, right) = plots.figure(2, 1, 5.2, 3.6)
    layers = np.arange(1, len(distances["average"]) + 1)
    plots.line(left, layers, distances["average"], "full", "D_avg")
    plots.line(left, layers, distances["top"], "base", "D_top1")
    left.set(xlabel="layer", ylabel="distance, patches", ylim=(0, None))
    shades = [SHADES[i * len(SHADES) // len(similar)] for i in range(len(similar))]
    for (quality, cosines), shade in zip(similar.items(), shades, strict=True):
        after = np.arange(len(cosines))
        right.plot(
            after, cosines, color=shade, marker="o", markersize=4, label=f"quality {quality:g}"
        )
    right.set(xlabel="after layer (0: embeddings)", ylabel="cosine similarity to the original")
    first, last = local_stage(distances["average"])
    for axis in (left, right):
        axis.axvspan(first + 0.5, last + 1.5, color="#f4f4f4", zorder=0)
        edges = (0.5, first + 0.5, last + 1.5, len(layers) + 0.5)
        for name, low, high in zip(STAGES, edges, edges[1:], strict=False):
            if high > low:
                place, above = ((low + high) / 2, 1.01), axis.get_xaxis_transform()
                words = name.replace(" ", "\n")
                axis.text(*place, words, transform=above, ha="center", fontsize=7)
        axis.legend(framealpha=0.8, edgecolor="none", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
    made.suptitle("Information flow by layer and stage", fontsize=10)
    plots.save(made, arguments.report.parent / "img" / "information_flow.png")


def _image() -> str:
    return "![Information flow](img/information_flow.png)"
