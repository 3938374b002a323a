"""Fidelity: real bytes of real streams, PSNR and MS-SSIM, against other codecs."""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from edge_client.coding.encoder import Analysed
from edge_client.pictures.images import Picture
from evaluation.codecs.compressai_zoo import ZooModel, find_learned, missing_weights
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.distortion import HIGH, LOW, MIN_SIDE, ms_ssim_db, psnr
from evaluation.codecs.pictures import PictureSet, picture_set
from evaluation.codecs.pillow_formats import FORMATS, PillowFormat
from evaluation.report import plots
from evaluation.report.document import command_line, percent, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.curves import Curve, bd_rate
from shared.bundle import open_bundle

MEASURES: Final = {"psnr": "RGB PSNR, dB", "ms_ssim": "MS-SSIM, dB"}
Peer = PillowFormat | ZooModel

Measured = dict[str, dict[float, list[Fields]]]
"""One row a picture, by codec and setting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=Path, help="folder; default: scikit-image's photographs")
    parser.add_argument("--most", type=int, default=0, help="only the first N pictures")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--qualities", type=float, nargs="+", default=[*range(10)])
    parser.add_argument("--guidance", action="store_true", help="code with the level map")
    parser.add_argument(
        "--compressai", default="", metavar="NAMES", help="models of its zoo, commas between"
    )
    parser.add_argument("--run", type=Path, help="codec training run: cost of the integer network")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write table and plot."""
    torch.set_num_threads(arguments.threads)
    pictures = picture_set(arguments.pictures, arguments.most)
    cotam = CotamCodec(open_bundle(arguments.bundle), arguments.threads)
    records = Records(arguments.results / "codec.jsonl")
    peers: list[Peer] = [*FORMATS]
    missing = []
    for model in find_learned(arguments.compressai):
        if reason := missing_weights(model):
            print(f"left out: {reason}", file=sys.stderr)
            missing.append(model)
        else:
            peers.append(model)
    measured = measure(cotam, pictures, arguments.qualities, arguments.guidance, records, peers)
    name = "codec_guidance" if arguments.guidance else "codec"
    draw(measured, pictures, arguments.report.parent / "img" / f"{name}.png")
    parts = [
        text(measured, pictures, arguments, cotam, peers),
        f"![Fidelity over rate](img/{name}.png)",
    ]
    if missing:
        names = ", ".join(model.describe() for model in missing)
        parts.append(f"Left out, because their published weights could not be loaded: {names}.")
    if arguments.run:
        from evaluation.codecs.integer_cost import integer_cost

        parts.append(integer_cost(arguments.run, pictures, arguments.qualities, records))
    write_section(arguments.report, name, "\n\n".join(parts))


def measure(
    cotam: CotamCodec,
    pictures: PictureSet,
    qualities: list[float],
    guidance: bool,
    records: Records,
    peers: Sequence[Peer] = FORMATS,
) -> Measured:
    """Bits per pixel, PSNR and MS-SSIM of every picture, by codec and setting."""
    measured: Measured = {}
    for number, path in enumerate(tqdm(pictures.files, desc="codec", unit="picture")):
        picture = pictures.load(number)
        where = {"picture": path.name, "crc": zlib.crc32(picture.tobytes())}
        analyse = functools.cache(functools.partial(cotam.analyse, picture, guidance))
        key = {**where, "codec": "ours", "bundle": cotam.bundle.hex_id, "guidance": guidance}
        for quality in qualities:
            fields = records.measure(
                {**key, "quality": float(quality)}, _measure_ours, cotam, picture, analyse, quality
            )
            measured.setdefault("ours", {}).setdefault(quality, []).append(fields)
        for peer in peers:
            for setting in peer.ladder:
                fields = records.measure(
                    {**where, "codec": peer.describe(), "quality": setting},
                    _measure_peer,
                    peer,
                    picture,
                    setting,
                )
                measured.setdefault(peer.name, {}).setdefault(setting, []).append(fields)
    return measured


def _measure_ours(
    cotam: CotamCodec, picture: Picture, analyse: Callable[[], Analysed], quality: float
) -> Fields:
    stream = cotam.encode(analyse(), quality)
    return _fidelity(picture, stream, cotam.decode(stream).picture)


def _measure_peer(peer: Peer, picture: Picture, setting: int) -> Fields:
    file = peer.encode(picture, setting)
    return _fidelity(picture, file, peer.decode(file))


def _fidelity(picture: Picture, file: bytes, decoded: Picture) -> Fields:
    """What is measured of a picture u8 [H, W, 3]; of MS-SSIM None where it is no number."""
    similarity = ms_ssim_db(picture, decoded)
    return {
        "bytes": len(file),
        "bpp": 8 * len(file) / (picture.shape[0] * picture.shape[1]),
        "psnr": psnr(picture, decoded),
        "ms_ssim": None if math.isnan(similarity) else similarity,
    }


def curve(measured: Measured, codec: str, measure: str) -> Curve:
    """Mean measure over mean bits per pixel of a codec, over the pictures that have the measure."""
    means = (_means(rows, measure) for rows in measured[codec].values())
    return Curve.of([point for point in means if point is not None])


def _has(row: Fields, measure: str) -> bool:
    # Rows of before say NaN, which is no JSON.
    return row[measure] is not None and not math.isnan(row[measure])


def _means(rows: Sequence[Fields], measure: str) -> tuple[float, float] | None:
    """Mean bits per pixel and mean measure, None where no picture has the measure."""
    points = [(row["bpp"], row[measure]) for row in rows if _has(row, measure)]
    if not points:
        return None
    rate, value = np.mean(points, axis=0)
    return float(rate), float(value)


def text(
    measured: Measured,
    pictures: PictureSet,
    arguments: argparse.Namespace,
    cotam: CotamCodec,
    peers: Sequence[Peer],
) -> str:
    """What was measured, bits at equal quality, and our points."""
    changes = []
    for peer in peers:
        row = [peer.describe()]
        for measure in MEASURES:
            change = bd_rate(
                curve(measured, peer.name, measure), curve(measured, "ours", measure), LOW, HIGH
            )
            row.append("none in common" if np.isnan(change) else f"{100 * change:+.1f} %")
        changes.append(row)
    own, inside = [], 0
    for quality, rows in measured["ours"].items():
        rate, decibels = _means(rows, "psnr") or (math.nan, math.nan)
        similarity = _means(rows, "ms_ssim")
        inside += LOW <= rate <= HIGH
        own.append(
            [
                f"{quality:g}",
                f"{rate:.3f}",
                f"{decibels:.2f}",
                f"{similarity[1]:.2f}" if similarity else "no number",
            ]
        )
    guided = "with" if arguments.guidance else "without"
    share = percent(inside / len(own))
    return "\n\n".join(
        [
            f"{command_line(arguments.words)}",
            f"{len(pictures.files)} pictures: {pictures.describe()}, whole, coded {guided} level "
            f"map by bundle {cotam.bundle.hex_id}. Sizes are those of whole files. Nothing is "
            f"random. MS-SSIM is given as -10 log10(1 - MS-SSIM){_too_small(measured)}.",
            f"Bits of ours at equal quality against another codec: BD-rate (PCHIP) of the curves "
            f"averaged over pictures, {LOW:g} to {HIGH:g} bpp ({share} of our points lie there). "
            "Below 0 is fewer bits.",
            table(
                ["against", *(f"BD-rate, {m.split(',')[0]}" for m in MEASURES.values())], changes
            ),
            table(["quality", "bpp", *MEASURES.values()], own),
        ]
    )


def _too_small(measured: Measured) -> str:
    """Of how many pictures the report has no MS-SSIM, if of any."""
    rows = next(iter(measured["ours"].values()))
    small = sum(not _has(row, "ms_ssim") for row in rows)
    if not small:
        return ""
    return (
        f" and needs {MIN_SIDE} pixels a side: {small} of {len(rows)} pictures have fewer and "
        "count for PSNR alone"
    )


def draw(measured: Measured, pictures: PictureSet, path: Path) -> None:
    """Both measures over bits per pixel."""
    made, axes = plots.figure(2, 1, 5.2, 3.9)
    for axis, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for codec in measured:
            line = curve(measured, codec, measure)
            plots.line(axis, line.rates, line.qualities, codec, plots.LABELS.get(codec, codec))
        axis.axvspan(LOW, HIGH, color="#f4f4f4", zorder=0)
        axis.set(xscale="log", xlabel="bits per pixel", ylabel=label, xlim=(0.02, 1.5))
        axis.set_xticks(
            [0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        )
        axis.minorticks_off()
    axes[0].legend(frameon=False, fontsize=9)
    made.suptitle(f"Fidelity, {len(pictures.files)} pictures", fontsize=10)
    plots.save(made, path)
