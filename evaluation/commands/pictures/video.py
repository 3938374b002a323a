"""Clips of Scenes in motion over the codecs between edge and cloud: bytes, PSNR, right answers.

track --sender at a quality--> bytes --> frames --probes--> answers of the bundle's own model
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.load import load_backend
from cloud_server.inference.mllm.upstream import UpstreamOptions
from edge_client.coding.clip_encoder import ClipEncoder
from evaluation.codecs.clip_codecs import RATE, Sender, encode_clip, psnr_of, senders
from evaluation.codecs.cotam import CotamCodec, bare
from evaluation.judges.motion import answers_about, blind
from evaluation.machine.peak_memory import peak
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, interval, resamples, with_interval
from evaluation.stats.curves import Curve, bd_rate_monotone
from evaluation.stats.equal_score import Scores, changes
from scenes import Backgrounds
from scenes.motion import MOTION_TASKS, Track, render_track
from shared.bundle import open_bundle
from shared.frames import Header, Writer
from shared.level_map import STRIDE

ORIGINAL: Final = "uncompressed"
BLIND: Final = "blind"
SIDE: Final = 256
CAMERA_S: Final = 30  # seconds of a still camera
CAMERA_QUALITY: Final = 2.5
SMALL: Final = 64  # pixels a side of frames whose number is large
SPEED_SIDES: Final = (256, 384)

Array = NDArray[Any]
Codes = dict[str, list[list[Fields]]]
"""By sender, at each setting: a value for each clip."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--frames", type=int, default=8, help="of each clip")
    parser.add_argument("--senders", nargs="*", help="names; default: all")
    parser.add_argument("--long", type=int, default=10_000, help="frames whose memory is measured")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--threads", type=int, default=1)


def main(arguments: argparse.Namespace) -> None:
    """Send what has not been sent yet, then write the section."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    cotam = CotamCodec(bundle, arguments.threads)
    records = Records(arguments.results / "video.jsonl")
    measuring = _Measuring(cotam, records, arguments)
    body = measuring.text()
    write_section(arguments.report, "video", body)
    print(f"the section is in {arguments.report}", file=sys.stderr)


class _Measuring:
    """The codec, its model, and the file that measurements go to."""

    def __init__(self, cotam: CotamCodec, records: Records, arguments: argparse.Namespace) -> None:
        self._cotam, self._records, self._arguments = cotam, records, arguments
        self._backend = load_backend(
            "", [cotam.bundle], torch.device("cpu"), UpstreamOptions(), None
        )
        self._backgrounds = Backgrounds.builtin()
        wanted = arguments.senders
        self._senders = [s for s in senders(cotam) if not wanted or s.name in wanted]

    def text(self) -> str:
        """The whole section."""
        clips = self._arguments.clips
        sent: Codes = {ORIGINAL: [[]], BLIND: [[]]}
        sent |= {sender.name: [[] for _ in sender.ladder] for sender in self._senders}
        for index in tqdm(range(clips), desc="video", unit="clip"):
            track = self._track(index, self._arguments.frames)
            plain = [bare(picture) for picture in track.pictures]
            sent[ORIGINAL][0].append(self._seen(ORIGINAL, index, track, plain))
            sent[BLIND][0].append(self._seen(BLIND, index, track, blind(track)))
            for sender in self._senders:
                for step, quality in enumerate(sender.ladder):
                    value = self._sent(sender, quality, index, track)
                    sent[sender.name][step].append(value)
        drawn = resamples(clips)
        questions = sum(len(value["right"]) for value in sent[ORIGINAL][0])
        return "\n\n".join(
            [
                command_line(self._arguments.words),
                f"{clips} clips of Scenes in motion's test split, {self._arguments.frames} frames "
                f"of {SIDE}x{SIDE} each, {questions} questions about what happens in them; bundle "
                f"{self._cotam.bundle.hex_id}. Its model sees one picture at a time: it is asked "
                "probes about single frames, and the answer about the clip follows from them by a "
                "rule that knows the task alone. Bytes are those of a whole clip, of codecs of "
                "video without a container; ranges are the middle 95 % of "
                f"{RESAMPLES} resamples of the clips (seed {SEED}).",
                self._points(sent, drawn),
                self._comparisons(sent, drawn),
                self._camera(),
                self._machine(),
            ]
        )

    def _track(self, index: int, frames: int) -> Track:
        return render_track("test", index, self._backgrounds, (SIDE, SIDE), frames)

    def _key(self, name: str, quality: float, index: int, **more: Any) -> Fields:
        return {
            "bundle": self._cotam.bundle.hex_id,
            "sender": name,
            "quality": quality,
            "clip": index,
            "frames": self._arguments.frames,
            **more,
        }

    def _sent(self, sender: Sender, quality: float, index: int, track: Track) -> Fields:
        def compute() -> Fields:
            size, shown = sender.send(track.pictures, quality)
            psnr = psnr_of(track.pictures, shown)
            return {"bytes": size, "psnr": psnr, **self._judged(track, shown)}

        return self._records.measure(self._key(sender.name, quality, index), compute)

    def _seen(self, name: str, index: int, track: Track, shown: list[Decoded]) -> Fields:
        def compute() -> Fields:
            return {"bytes": 0, "psnr": 0.0, **self._judged(track, shown)}

        return self._records.measure(self._key(name, 0.0, index), compute)

    def _judged(self, track: Track, shown: list[Decoded]) -> Fields:
        said = answers_about(self._backend, track.questions, shown)
        pairs = list(zip(track.questions, said, strict=True))
        return {
            "right": [question.answer == answer for question, answer in pairs],
            "tasks": [question.task for question, _ in pairs],
        }

    def _points(self, sent: Codes, drawn: Array) -> str:
        rows = []
        for name, steps in sent.items():
            ladder = next((s.ladder for s in self._senders if s.name == name), (0.0,))
            for quality, values in zip(ladder, steps, strict=True):
                shares = _accuracy(values, drawn)
                low, high = interval(shares)
                plain = name in (ORIGINAL, BLIND)
                rows.append(
                    [
                        name,
                        "" if plain else f"{quality:g}",
                        "" if plain else f"{np.mean([v['bytes'] for v in values]):,.0f}",
                        "" if plain else f"{np.mean([v['psnr'] for v in values]):.2f}",
                        f"{100 * shares[0]:.1f} ({100 * low:.0f} to {100 * high:.0f})",
                        *(_of_task(values, task) for task in MOTION_TASKS),
                    ]
                )
        return table(["", "quality", "bytes", "PSNR, dB", "right, %", *MOTION_TASKS], rows)

    def _comparisons(self, sent: Codes, drawn: Array) -> str:
        cotam = self._senders[0].name
        rows = []
        for sender in self._senders[1:]:
            both = [_scores(sent[name], "psnr") for name in (sender.name, cotam)]
            low = max(each.points.mean(1).min() for each in both)
            high = min(each.points.mean(1).max() for each in both)
            right = [_scores(sent[name], "right") for name in (sender.name, cotam)]
            rows.append(
                [
                    sender.name,
                    with_interval(changes(both[0], both[1], drawn, low, high)),
                    with_interval(_where_both_reach(right[0], right[1], drawn)),
                ]
            )
        head = [f"bits of {cotam} against", "at equal PSNR", "at equal accuracy"]
        return table(head, rows)

    def _camera(self) -> str:
        """A still camera over half a minute: bytes in all."""
        count = CAMERA_S * RATE
        index = next(n for n in range(100) if self._is_lonely(n))
        track = self._track(index, count)
        rows = []
        for sender in self._senders:
            for quality in sender.ladder:

                def compute(sender: Sender = sender, quality: float = quality) -> Fields:
                    size, shown = sender.send(track.pictures, quality)
                    return {"bytes": size, "psnr": psnr_of(track.pictures, shown)}

                key = self._key(sender.name, quality, index, camera=count)
                value = self._records.measure(key, compute)
                rows.append(
                    [sender.name, f"{quality:g}", f"{value['bytes']:,}", f"{value['psnr']:.2f}"]
                )
        caption = (
            f"A still camera over {CAMERA_S} seconds, {RATE} frames a second, in which one thing "
            f"moves (clip {index} of the same world):"
        )
        return caption + "\n\n" + table(["", "quality", "bytes in all", "PSNR, dB"], rows)

    def _is_lonely(self, index: int) -> bool:
        """Whether the camera stands still and the picture is without noise."""
        track = self._track(index, 8)
        corner = track.pictures[:, :8, :8]
        return track.still and bool((corner == corner[0]).all())

    def _machine(self) -> str:
        """Frames a second of processor time, and the memory of a long clip."""
        key = {"bundle": self._cotam.bundle.hex_id, "machine": True, "long": self._arguments.long}
        value = self._records.measure(key, self._measure_machine)
        speed = ", ".join(
            f"{rate:.0f} at {side} pixels"
            for side, rate in zip(SPEED_SIDES, value["rates"], strict=True)
        )
        return (
            f"Frames that one core encodes in a second of its time, guidance included: {speed}. "
            f"Memory of the process after {self._arguments.long // 10:,} frames of "
            f"{SMALL}x{SMALL} {value['early_mb']:.0f} MB, after {self._arguments.long:,} "
            f"{value['late_mb']:.0f} MB."
        )

    def _measure_machine(self) -> Fields:
        rates = []
        for side in SPEED_SIDES:
            track = render_track("test", 5, self._backgrounds, (side, side), 12)
            list(encode_clip(self._cotam, track.pictures[:2], CAMERA_QUALITY))
            start = time.process_time()
            count = sum(1 for _ in encode_clip(self._cotam, track.pictures, CAMERA_QUALITY)) - 1
            rates.append(count / (time.process_time() - start))
        peaks = []
        for number, _ in enumerate(self._endless(), start=1):
            if number in (self._arguments.long // 10, self._arguments.long):
                peaks.append(peak())
            if number == self._arguments.long:
                break
        return {"rates": rates, "early_mb": peaks[0], "late_mb": peaks[1]}

    def _endless(self) -> Iterator[bytes]:
        """Frames in which a square walks."""
        header = Header(self._cotam.bundle.codec_id, SMALL, SMALL, every=60)
        clips, writer = ClipEncoder(self._cotam.encoder, header, guidance=False), Writer(header)
        picture = np.random.default_rng(0).integers(60, 200, (SMALL, SMALL, 3)).astype(np.uint8)
        number = 0
        while True:
            shown = picture.copy()
            left = number // 8 * STRIDE % SMALL
            shown[:STRIDE, left : left + STRIDE] = 255
            analysed = clips.analyse(shown)
            coded = clips.code(analysed, clips.moved(analysed), round(20 * CAMERA_QUALITY))
            clips.take(analysed, coded)
            yield writer.add(coded.body, number)
            number += 1


def _where_both_reach(anchor: Scores, test: Scores, drawn: Array) -> Array:
    """Bits of `test` at equal score against `anchor`, over the scores that both reach, [R]."""
    curves = [
        [Curve.of(list(zip(*row, strict=True))) for row in zip(*each.curves(drawn), strict=True)]
        for each in (anchor, test)
    ]
    return np.array([bd_rate_monotone(*pair) for pair in zip(*curves, strict=True)])


def _accuracy(values: list[Fields], drawn: Array) -> Array:
    hits = np.array([sum(value["right"]) for value in values])
    counts = np.array([len(value["right"]) for value in values])
    shares: Array = (drawn @ hits) / np.maximum(drawn @ counts, 1)
    return shares


def _of_task(values: list[Fields], task: str) -> str:
    hits = [
        right
        for value in values
        for right, own in zip(value["right"], value["tasks"], strict=True)
        if own == task
    ]
    return f"{100 * np.mean(hits):.0f} ({len(hits)})" if hits else ""


def _scores(steps: list[list[Fields]], what: str) -> Scores:
    sizes = np.array([[value["bytes"] for value in values] for values in steps], np.float64)
    if what == "psnr":
        points = np.array([[value["psnr"] for value in values] for values in steps], np.float64)
        return Scores(sizes, points, np.ones(points.shape[1]))
    points = np.array([[sum(v["right"]) for v in values] for values in steps], np.float64)
    return Scores(sizes, points, np.array([len(v["right"]) for v in steps[0]], np.float64))
