"""Accuracy of any language model on any questions about pictures, over the codecs between them.

picture --fitted--> pixels --codec--> bytes --> pixels --the cloud's backend--> what the model says

The model writes freely, by the same code as in the service: a folder, a hub id, or the address of
another server. Every answer is written down as it comes, so a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.inference.mllm.base import Backend
from cloud_server.inference.mllm.load import load_backend
from cloud_server.inference.mllm.upstream import UpstreamOptions
from cloud_server.inference.work import Work
from edge_client.pictures.images import Picture, fit
from evaluation.codecs.cotam import CotamCodec
from evaluation.codecs.equal_bytes import MATCHED_ON, match_formats
from evaluation.codecs.pictures import leave_out_unreadable
from evaluation.codecs.pillow_formats import FORMATS
from evaluation.judges.accuracy import ORIGINAL, VIEWS, Condition
from evaluation.judges.conditions import Transmit, all_conditions, transmitter
from evaluation.judges.dataset import Item, LabelledQuestion, is_right, read_dataset, scene_items
from evaluation.judges.families import OF_A_KIND, OVERALL, is_of_a_kind
from evaluation.report.document import command_line, table, write_section
from evaluation.report.records import Fields, Records
from evaluation.stats.bootstrap import RESAMPLES, SEED, interval, resamples
from shared.bundle import open_bundle
from shared.errors import CotamError, UsageError

QUALITIES: Final = (1.0, 3.0, 5.0)
Array = NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mllm", default="", help="folder, hub id or http:// address; default: the bundle's own"
    )
    parser.add_argument("--dataset", type=Path, help="JSON lines file; default: Scenes' test split")
    parser.add_argument("--images", type=Path, help="folder of its pictures; default: the file's")
    parser.add_argument("--pictures", type=int, help="only the first so many (of Scenes: 50)")
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--formats", nargs="*", default=["JPEG", "WebP", "AVIF"])
    parser.add_argument("--resolution", default="model", help="long side: pixels, model or native")
    parser.add_argument("--suffix", default="", help="a line after each question")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="questions answered at once")
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def main(arguments: argparse.Namespace) -> None:
    """Ask what has not been asked yet, then write the table."""
    torch.set_num_threads(arguments.threads)
    bundle = open_bundle(arguments.bundle)
    unreadable: list[Item] = []
    if arguments.dataset is None:
        items = scene_items(arguments.pictures or 50)
    else:
        items = read_dataset(arguments.dataset, arguments.images, arguments.pictures)
        items, unreadable = leave_out_unreadable(items, Item.read)
        if not items:
            raise UsageError(f"{arguments.dataset.name} names no picture that can be read")
    cotam = CotamCodec(bundle, arguments.threads)
    backend = load_backend(arguments.mllm, [bundle], _device(arguments.device), UpstreamOptions())
    records = Records(arguments.results / "answers.jsonl")
    asking = Asking(cotam, backend, records, arguments)
    conditions = asking.conditions(items)
    values = [asking.ask(item, conditions) for item in tqdm(items, desc="answers", unit="picture")]
    body = text(items, conditions, values, backend.name, bundle.hex_id, arguments)
    if unreadable:
        names = ", ".join(item.name for item in unreadable)
        body += f"\n\nLeft out, because their pictures cannot be read: {names}."
    write_section(arguments.report, "answers", body)
    print(f"the table is in {arguments.report}", file=sys.stderr)


class Asking:
    """A model, the codec in front of it, and the file that its answers go to."""

    def __init__(
        self, cotam: CotamCodec, backend: Backend, records: Records, arguments: argparse.Namespace
    ) -> None:
        self._cotam, self._backend, self._records = cotam, backend, records
        self._arguments = arguments

    def conditions(self, items: list[Item]) -> list[Condition]:
        """The picture itself, our views at each quality, each format at sizes as near as it has."""
        qualities = self._arguments.qualities
        forms = [form for form in FORMATS if form.name in self._arguments.formats]
        pictures = [self._pixels(item) for item in items[:MATCHED_ON]]
        matched = match_formats(self._cotam, pictures, qualities, forms, self._records)
        adapts = self._backend.view(self._cotam.bundle.id) == "adapter"
        return [Condition(ORIGINAL), *all_conditions(adapts, qualities, matched)]

    def ask(self, item: Item, conditions: list[Condition]) -> list[list[Fields]]:
        """Bytes and what the model said, by condition and question."""
        pixels = self._pixels(item)
        show, crc = transmitter(pixels, self._cotam), zlib.crc32(pixels.tobytes())
        return [self._under(condition, item, show, crc) for condition in conditions]

    def _pixels(self, item: Item) -> Picture:
        resolution = self._arguments.resolution
        if resolution not in ("model", "native"):
            resolution = int(resolution)
        # A copy: torch takes no arrays that may not be written to.
        return np.array(fit(item.load(), resolution, self._cotam.bundle.manifest.resolution))

    def _under(self, condition: Condition, item: Item, show: Transmit, crc: int) -> list[Fields]:
        prompts = [self._prompt(question) for question in item.questions]
        keys = [self._key(condition, crc, prompt) for prompt in prompts]
        todo = [i for i, key in enumerate(keys) if self._records.get(key) is None]
        if todo:
            size, decoded = show(condition)
            visual = self._backend.see([decoded])[0]
            for start in range(0, len(todo), self._arguments.batch):
                part = todo[start : start + self._arguments.batch]
                room = self._arguments.max_new_tokens
                works = [Work(None, prompts[i], room, visual=visual) for i in part]
                for work in works:
                    self._backend.check(work.turns(), room)
                self._backend.answer([work.request() for work in works])
                for i, work in zip(part, works, strict=True):
                    if work.answer is None:
                        raise work.error or CotamError("the model gave no answer")
                    said, sureness = work.answer.text, work.answer.sureness
                    self._records.add(keys[i], {"bytes": size, "said": said, "sureness": sureness})
        return [self._records.get(key) or {} for key in keys]

    def _prompt(self, question: LabelledQuestion) -> str:
        return "\n".join(filter(None, (question.text, self._arguments.suffix)))

    def _key(self, condition: Condition, crc: int, prompt: str) -> Fields:
        return {
            "mllm": self._backend.name,
            "bundle": self._cotam.bundle.hex_id,
            "crc": crc,
            "codec": condition.codec,
            "quality": condition.quality,
            "prompt": prompt,
            "max_new_tokens": self._arguments.max_new_tokens,
        }


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def text(
    items: list[Item],
    conditions: list[Condition],
    values: list[list[list[Fields]]],
    model: str,
    bundle: str,
    arguments: argparse.Namespace,
) -> str:
    """Accuracy by category under each condition."""
    names = sorted({name for item in items for q in item.questions for name in _columns(q)[1:]})
    columns = [OVERALL, *names] if len(names) > 1 else [OVERALL]
    weights = resamples(len(items))
    asked = weights @ _sums(items, columns, lambda p, q: 1)
    rows = []
    for number, condition in enumerate(conditions):
        shown = [picture[number] for picture in values]
        hits = weights @ _sums(
            items,
            columns,
            partial(_is_hit, items, shown),
        )
        scores = np.divide(hits, asked, out=np.full(asked.shape, np.nan), where=asked > 0)
        low, high = interval(scores[:, 0])
        size = np.mean([picture[0]["bytes"] for picture in shown])
        rows.append(
            [
                VIEWS.get(condition.codec, condition.codec),
                "" if condition.codec == ORIGINAL else f"{condition.quality:g}",
                f"{size:.0f}",
                f"{100 * scores[0, 0]:.1f} ({100 * low:.0f} to {100 * high:.0f})",
                *(f"{100 * score:.0f}" for score in scores[0, 1:]),
            ]
        )
    source = f"`{arguments.dataset.name}`" if arguments.dataset else "Scenes' test split"
    head = [f"{name} ({n:.0f})" for name, n in zip(columns, asked[0], strict=True)]
    return "\n\n".join(
        [
            command_line(arguments.words),
            f"`{model}` on {len(items)} pictures of {source} at resolution {arguments.resolution}, "
            f"{int(asked[0, 0])} questions; bundle {bundle}. Accuracy in percent of what the model "
            "writes freely (case, punctuation and articles do not count); ranges are the middle "
            f"95 % of {RESAMPLES} resamples of the pictures (seed {SEED}); bytes are those of "
            "whole files.",
            table(["codec", "quality", "bytes", *head], rows),
        ]
    )


def _is_hit(items: list[Item], answers: list[list[Fields]], picture: int, question: int) -> bool:
    said: str = answers[picture][question]["said"]
    return is_right(said, items[picture].questions[question].answers)


def _columns(question: LabelledQuestion) -> tuple[str, ...]:
    """What a question counts for, all questions first."""
    part = is_of_a_kind(question.category, question.text, question.answers)
    return (OVERALL, question.category, *((OF_A_KIND,) if part else ()))


def _sums(items: list[Item], columns: list[str], value: Callable[[int, int], float]) -> Array:
    """Sums [pictures, columns] of one value a question."""
    sums = np.zeros((len(items), len(columns)))
    for picture, item in enumerate(items):
        for number, question in enumerate(item.questions):
            indices = [columns.index(name) for name in _columns(question) if name in columns]
            sums[picture, indices] += value(picture, number)
    return sums
