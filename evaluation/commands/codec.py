"""Fidelity: real bytes of real streams, PSNR and MS-SSIM, against other codecs."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from evaluation.codecs.compressai_zoo import Learned, find_learned, missing_weights
from evaluation.codecs.cotam import Ours
from evaluation.codecs.distortion import HIGH, LOW, ms_ssim_db, psnr
from evaluation.codecs.pictures import PictureSet, picture_set
from evaluation.codecs.pillow_formats import FORMATS, Classical
from evaluation.report import plots
from evaluation.report.document import command_line, percent, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.curves import Curve, bd_rate
from shared.bundle import open_bundle

MEASURES: Final = {"psnr": "RGB PSNR, dB", "ms_ssim": "MS-SSIM, dB"}
Peer = Classical | Learned
Points = dict[str, dict[float, dict[str, float]]]


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
    ours = Ours(open_bundle(arguments.bundle), arguments.threads)
    records = Records(arguments.results / "codec.jsonl")
    peers: list[Peer] = [*FORMATS]
    missing = []
    for model in find_learned(arguments.compressai):
        if reason := missing_weights(model):
            print(f"left out: {reason}", file=sys.stderr)
            missing.append(model)
        else:
            peers.append(model)
    points = measure(ours, pictures, arguments.qualities, arguments.guidance, records, peers)
    name = "codec_guidance" if arguments.guidance else "codec"
    draw(points, pictures, arguments.report.parent / "img" / f"{name}.png")
    parts = [
        text(points, pictures, arguments, ours, peers),
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
    ours: Ours,
    pictures: PictureSet,
    qualities: list[float],
    guidance: bool,
    records: Records,
    peers: Sequence[Peer] = FORMATS,
) -> Points:
    """Mean bits per pixel, PSNR and MS-SSIM over the pictures, by codec and setting."""
    rows: dict[str, dict[float, list[Fields]]] = {}
    for number, path in enumerate(tqdm(pictures.files, desc="codec", unit="picture")):
        picture = pictures.load(number)
        where = {"picture": path.name, "crc": zlib.crc32(picture.tobytes())}
        analysed = functools.cache(lambda p=picture: ours.analyse(p, guidance))
        for quality in qualities:
            key = {**where, "codec": "ours", "bundle": ours.bundle.hex_id, "guidance": guidance}
            value = records.measure(
                {**key, "quality": float(quality)},
                lambda q=quality, p=picture, a=analysed: _compare(
                    p, ours.encode(a(), q), lambda file: ours.decode(file).picture
                ),
            )
            rows.setdefault("ours", {}).setdefault(quality, []).append(value)
        for peer in peers:
            for setting in peer.ladder:
                key = {**where, "codec": peer.describe(), "quality": setting}
                value = records.measure(
                    key,
                    lambda c=peer, s=setting, p=picture: _compare(p, c.encode(p, s), c.decode),
                )
                rows.setdefault(peer.name, {}).setdefault(setting, []).append(value)
    return {
        codec: {
            setting: {m: float(np.mean([v[m] for v in found])) for m in ("bpp", *MEASURES)}
            for setting, found in by_setting.items()
        }
        for codec, by_setting in rows.items()
    }


def _compare(picture: np.ndarray, file: bytes, back: Callable[[bytes], np.ndarray]) -> Fields:
    decoded = back(file)
    return {
        "bytes": len(file),
        "bpp": 8 * len(file) / (picture.shape[0] * picture.shape[1]),
        "psnr": psnr(picture, decoded),
        "ms_ssim": ms_ssim_db(picture, decoded),
    }


def curve(points: Points, codec: str, measure: str) -> Curve:
    """Mean measure over mean bits per pixel of a codec."""
    return Curve.of([(p["bpp"], p[measure]) for p in points[codec].values()])


def text(
    points: Points,
    pictures: PictureSet,
    arguments: argparse.Namespace,
    ours: Ours,
    peers: Sequence[Peer],
) -> str:
    """What was measured, bits at equal quality, and our points."""
    changes = []
    for peer in peers:
        row = [peer.describe()]
        for measure in MEASURES:
            change = bd_rate(
                curve(points, peer.name, measure), curve(points, "ours", measure), LOW, HIGH
            )
            row.append("none in common" if np.isnan(change) else f"{100 * change:+.1f} %")
        changes.append(row)
    own = [
        [f"{q:g}", f"{p['bpp']:.3f}", f"{p['psnr']:.2f}", f"{p['ms_ssim']:.2f}"]
        for q, p in points["ours"].items()
    ]
    guided = "with" if arguments.guidance else "without"
    inside = [p for p in points["ours"].values() if LOW <= p["bpp"] <= HIGH]
    share = percent(len(inside) / len(points["ours"]))
    return "\n\n".join(
        [
            f"{command_line(arguments.words)}",
            f"{len(pictures.files)} pictures: {pictures.name}, whole, coded {guided} level map by "
            f"bundle {ours.bundle.hex_id}. Sizes are those of whole files. Nothing is random. "
            "MS-SSIM is given as -10 log10(1 - MS-SSIM).",
            f"Bits of ours at equal quality against another codec: BD-rate (PCHIP) of the curves "
            f"averaged over pictures, {LOW:g} to {HIGH:g} bpp ({share} of our points lie there). "
            "Below 0 is fewer bits.",
            table(
                ["against", *(f"BD-rate, {m.split(',')[0]}" for m in MEASURES.values())], changes
            ),
            table(["quality", "bpp", *MEASURES.values()], own),
        ]
    )


def draw(points: Points, pictures: PictureSet, path: Path) -> None:
    """Both measures over bits per pixel."""
    made, axes = plots.figure(2, 1, 5.2, 3.9)
    for axis, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for codec in points:
            found = curve(points, codec, measure)
            plots.line(axis, found.rates, found.qualities, codec, codec)
        axis.axvspan(LOW, HIGH, color="#f4f4f4", zorder=0)
        axis.set(xscale="log", xlabel="bits per pixel", ylabel=label, xlim=(0.02, 1.5))
        axis.set_xticks(
            [0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        )
        axis.minorticks_off()
    axes[0].legend(frameon=False, fontsize=9)
    made.suptitle(f"Fidelity, {len(pictures.files)} pictures", fontsize=10)
    plots.save(made, path)
