"""What each kind of quantisation costs by task at equal bytes, and what it saves in time.

latents: plain rounding, dead zones of several prices      edge graphs: 8 bits, float
decoder: bfloat16, float32                                 adapter: weights of 8 bits
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import nn
from tqdm import tqdm

from cloud_server.inference.decoder import Decoder
from cloud_server.inference.mllm.rapidocr import Reader
from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import Picture
from evaluation.codecs.cotam import CotamCodec, Received
from evaluation.codecs.senders import Prepared, Sender
from evaluation.commands.models.ablations import bundle_of_adapter
from evaluation.commands.pictures.reading import Reading, pages, scores_of
from evaluation.judges.accuracy import Condition, Measured, collect
from evaluation.judges.conditions import Transmit
from evaluation.judges.equal_accuracy import overall
from evaluation.judges.families import COLUMNS, OVERALL
from evaluation.judges.grading import Grader
from evaluation.judges.options import add_scene_options
from evaluation.judges.variants import Variant
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Records
from evaluation.stats.bootstrap import SEED, resamples, with_interval
from evaluation.stats.equal_score import changes
from scenes import Backgrounds, Scene, render
from shared.bundle import ADAPTER, Bundle, open_bundle
from shared.coding.symbol_coder import BIT_PRICE
from shared.errors import UsageError
from shared.nets.adapter import LatentAdapter, load_adapter

PICTURES: Final = 40
QUALITIES: Final = (0.0, 1.0, 3.0)
PAGES: Final = 8
PAGE_SIDE: Final = 384
READ_AT: Final = (2.0, 3.0, 4.0)  # qualities at which most of a page is read
WINDOW: Final = (0.6, 0.8)  # of its characters
RESAMPLES: Final = 400
PRICES: Final = (0.0, 0.03, 0.06, 0.1)
AS_IT_IS: Final = "as it ships"
FLOAT_EDGE: Final = "edge graphs in float"
DECODERS: Final = {"decoder in float32": "float32", "decoder in bfloat16": "bfloat16"}
ADAPTER_8: Final = "adapter with weights of 8 bits"
SHOWN: Final = (OVERALL, "count", "presence", "colour", "number", "position", "relation")
TIMED: Final = 8  # scenes
_PREFIX: Final = "quantisation; "
"""Of the names under which conditions are written down."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scene_options(parser, PICTURES, QUALITIES)
    parser.add_argument(
        "--pages", type=int, default=PAGES, help="pages of the test split that are read again"
    )
    parser.add_argument(
        "--edge-float",
        metavar="BUNDLE",
        help="the same codec with its edge graphs in float, an export without --quantise",
    )


def main(arguments: argparse.Namespace) -> None:
    """Measure what is not yet measured, then write the tables. Raises UsageError."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    if not bundle.has(ADAPTER):
        raise UsageError(f"the bundle {bundle.hex_id} has no adapter", hint="export one into it")
    records = Records(arguments.results / "scenes.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        rounded = load_adapter(bundle.path(ADAPTER))
        round_weights(rounded)
        made = bundle_of_adapter(bundle, rounded, Path(folder) / "adapter")
        adapter = Variant(_PREFIX + ADAPTER_8, ADAPTER_8, made)
        ways = Ways(bundle, arguments.edge_float, adapter.bundle.id)
        measure(bundle, adapter, ways, arguments, records)
        times = ways.times(arguments.pictures)
    measured = collect(records, bundle.hex_id, arguments.pictures)
    parts = [text(measured, ways, times, bundle, arguments)]
    if arguments.pages:
        parts.append(print_read(ways, arguments))
    write_section(arguments.report, "quantisation", "\n\n".join(parts))


def round_weights(adapter: LatentAdapter) -> None:
    """Round the matrices of an adapter to 8 bits, symmetrically, a scale an output."""
    for module in adapter.modules():
        matrices = [module.weight] if isinstance(module, nn.Linear) else []
        if isinstance(module, nn.MultiheadAttention):
            matrices.append(module.in_proj_weight)
        for weight in matrices:
            scale = weight.data.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            weight.data = (weight.data / scale).round() * scale


class Ways:
    """Ways to code and decode: by name, what a scene is to the model at a quality."""

    def __init__(self, bundle: Bundle, edge_float: str | None, adapter: bytes) -> None:
        self.cotam = CotamCodec(bundle)
        self.adapter = adapter
        self.decoders = {
            name: Decoder(bundle, torch.device("cpu"), precision)  # type: ignore[arg-type]
            for name, precision in DECODERS.items()
        }
        self.prices = {AS_IT_IS: BIT_PRICE, **{_price_name(price): price for price in PRICES}}
        self.encoders = {}
        if edge_float is not None:
            other = open_bundle(edge_float)
            if other.codec_id != bundle.codec_id:
                raise UsageError(f"{edge_float} is of another codec than {bundle.hex_id}")
            self.encoders[FLOAT_EDGE] = Encoder(other, 1)
        self.names = [*self.prices, *self.encoders, *self.decoders, ADAPTER_8]

    def show(self, scene: Scene) -> Transmit:
        """What the model gets of a scene under a condition."""
        sent = self._sent(scene.picture)
        return lambda condition: sent(condition.codec.removeprefix(_PREFIX), condition.quality)

    def senders(self) -> list[Sender]:
        """Each way that changes pixels, as readers compare them."""

        def prepare(name: str, picture: Picture) -> Prepared:
            sent = self._sent(picture)

            def send(quality: float) -> tuple[int, Picture]:
                size, decoded = sent(name, quality)
                return size, decoded.picture

            return Prepared({"codec": _PREFIX + name, "bundle": self.cotam.bundle.hex_id}, send)

        return [
            Sender(name, READ_AT, functools.partial(prepare, name))
            for name in self.names
            if name != ADAPTER_8
        ]

    def _sent(self, picture: Picture) -> Callable[[str, float], Received]:
        """A picture by way and quality: bytes, and what comes back."""
        analysed = functools.cache(
            lambda name: self.encoders.get(name, self.cotam.encoder).analyse(picture)
        )

        def sent(name: str, quality: float) -> Received:
            analysis = analysed(name if name in self.encoders else AS_IT_IS)
            stream = analysis.code(quality, self.prices.get(name, BIT_PRICE))
            decoded = self.decoders.get(name, self.cotam.decoder).decode(stream)
            if name == ADAPTER_8:
                decoded = replace(decoded, bundle_id=self.adapter)
            return len(stream.to_bytes()), decoded

        return sent

    def times(self, pictures: int) -> dict[str, tuple[float, float]]:
        """Processor milliseconds of a scene by way: to a stream, and from its latents to pixels."""
        scenes = [render("test", i, Backgrounds.builtin()) for i in range(min(TIMED, pictures))]
        medians: dict[str, tuple[float, float]] = {}
        for name in self.names:
            encoder = self.encoders.get(name, self.cotam.encoder)
            decoder = self.decoders.get(name, self.cotam.decoder)
            price = self.prices.get(name, BIT_PRICE)
            coding, restoring = [], []
            for scene in scenes:
                start = time.process_time()
                stream = encoder.analyse(scene.picture).code(QUALITIES[-1], price)
                coding.append(time.process_time() - start)
                latents = decoder.read(stream)
                start = time.process_time()
                decoder.restore([latents])
                restoring.append(time.process_time() - start)
            medians[name] = (1000 * statistics.median(coding), 1000 * statistics.median(restoring))
        return medians


def _price_name(price: float) -> str:
    return f"dead zones, {price:g} a bit" if price else "plain rounding"


def measure(
    bundle: Bundle,
    adapter: Variant,
    ways: Ways,
    arguments: argparse.Namespace,
    records: Records,
) -> None:
    """Ask about scenes 0 .. pictures - 1 in each way, at each quality."""
    grader = Grader(bundle, records, [adapter])
    backgrounds = Backgrounds.builtin()
    conditions = [
        Condition(_PREFIX + name, float(quality))
        for name in ways.names
        for quality in arguments.qualities
    ]
    for index in tqdm(range(arguments.pictures), desc="quantisation", unit="picture"):
        scene = render("test", index, backgrounds)
        grader.grade(index, scene, conditions, ways.show(scene))


def text(
    measured: Measured,
    ways: Ways,
    times: dict[str, tuple[float, float]],
    bundle: Bundle,
    arguments: argparse.Namespace,
) -> str:
    """Bits at equal accuracy and probability, accuracy by family, time."""
    weights = resamples(len(measured.questions), RESAMPLES)
    rows, scores = [], []
    anchor = _PREFIX + AS_IT_IS
    near = max(arguments.qualities)
    for name in ways.names:
        codec = _PREFIX + name
        bits = ["", ""] if codec == anchor else overall(measured, codec, anchor, weights)
        rows.append([name, *bits, *(f"{ms:.1f}" for ms in times[name])])
        condition = Condition(codec, float(near))
        accuracy = measured.accuracy(condition, weights[:1])[0]
        size = measured.size(condition, weights[:1])[0]
        cells = [accuracy[COLUMNS.index(family)] for family in SHOWN]
        scores.append([name, f"{size:.0f}", *(f"{100 * share:.1f}" for share in cells)])
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"Scenes 0 to {arguments.pictures - 1} of the test split, "
            f"{int(measured.questions[:, 0].sum())} questions, qualities "
            f"{', '.join(f'{quality:g}' for quality in arguments.qualities)}, bundle "
            f"{bundle.hex_id}, the whole method. Bits against what ships (dead zones of "
            f"{BIT_PRICE:g} a bit, edge graphs in 8 bits, decoder and adapter as the processor "
            "likes them best); above 0 is more. In brackets the middle 95 % of "
            f"{RESAMPLES} resamples of the pictures (seed {SEED}). Milliseconds of processor time, "
            f"medians of {TIMED} scenes at quality {QUALITIES[-1]:g}: picture to stream, latents "
            "to pixels.",
            table(
                ["", "bits at equal accuracy", "at equal probability", "to a stream", "to pixels"],
                rows,
            ),
            f"Accuracy in percent at quality {near:g}:",
            table(["", "bytes", *SHOWN], scores),
        ]
    )


def print_read(ways: Ways, arguments: argparse.Namespace) -> str:
    """Bits at equal share of characters that a reader finds again of pages, by way."""
    senders = ways.senders()
    reading = Reading(Reader(arguments.threads), Records(arguments.results / "reading.jsonl"))
    subjects = tqdm(list(pages(arguments.pages, PAGE_SIDE)), desc="reading", unit="page")
    measured = [
        page for page in (reading.subject(s, senders) for s in subjects) if any(page.legible)
    ]
    if not measured:
        raise UsageError("no line of these pages is legible uncompressed", hint="take more --pages")
    scores = {sender.name: scores_of(measured, sender.name) for sender in senders}
    weights = resamples(len(measured), RESAMPLES)
    rows = []
    for name, reached in scores.items():
        sizes, shares = reached.curves(weights[:1])
        bits = ""
        if name != AS_IT_IS:
            bits = with_interval(changes(scores[AS_IT_IS], reached, weights, *WINDOW))
        cells = (
            f"{size:,.0f}: {share:.3f}" for size, share in zip(sizes[0], shares[0], strict=True)
        )
        rows.append([name, bits, *cells])
    low, high = WINDOW
    return "\n\n".join(
        [
            f"Print: {len(measured)} pages of the test split at {PAGE_SIDE} pixels, read again by "
            f"{reading.judge}; bits at {low:g} to {high:g} of the characters of the lines that are "
            "legible uncompressed, and bytes with their share by quality.",
            table(["", "bits at equal share", *(f"quality {q:g}" for q in READ_AT)], rows),
        ]
    )
