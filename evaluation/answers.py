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
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cloud_server.mllm.base import Backend, Question
from cloud_server.mllm.load import load_backend
from cloud_server.mllm.upstream import UpstreamOptions
from edge_client.images import Picture, fit
from evaluation.accuracy import ORIGINAL, VIEWS, Condition
from evaluation.bootstrap import RESAMPLES, SEED, interval, resamples
from evaluation.classical import FORMATS, decode
from evaluation.dataset import Asked, Item, is_right, read_dataset, scene_items
from evaluation.grading import Shown
from evaluation.matching import match_formats
from evaluation.ours import Ours, bare, without_adapter
from evaluation.records import Fields, Records
from evaluation.report import command_line, table, write_section
from shared.bundle import open_bundle
from shared.errors import CotamError

QUALITIES: Final = (1.0, 3.0, 5.0)
MATCHED_ON: Final = 6  # pictures
OVERALL: Final = "overall"
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
    if arguments.dataset is None:
        items = scene_items(arguments.pictures or 50)
    else:
        items = read_dataset(arguments.dataset, arguments.images, arguments.pictures)
    ours = Ours(bundle, arguments.threads)
    backend = load_backend(arguments.mllm, [bundle], _device(arguments.device), UpstreamOptions())
    records = Records(arguments.results / "answers.jsonl")
    asking = Asking(ours, backend, records, arguments)
    conditions = asking.conditions(items)
    values = [asking.ask(item, conditions) for item in tqdm(items, desc="answers", unit="picture")]
    body = text(items, conditions, values, backend.name, bundle.hex_id, arguments)
    write_section(arguments.report, "answers", body)
    print(f"the table is in {arguments.report}", file=sys.stderr)


class Asking:
    """A model, the codec in front of it, and the file that its answers go to."""

    def __init__(
        self, ours: Ours, backend: Backend, records: Records, arguments: argparse.Namespace
    ) -> None:
        self._ours, self._backend, self._records = ours, backend, records
        self._arguments = arguments

    def conditions(self, items: list[Item]) -> list[Condition]:
        """The picture itself, our views at each quality, each format at sizes as near as it has."""
        qualities = [float(quality) for quality in self._arguments.qualities]
        views = list(VIEWS)
        if self._backend.view(self._ours.bundle.id) != "adapter":
            views = ["base", "guidance"]
        found = [Condition(ORIGINAL)]
        found += [Condition(view, quality) for view in views for quality in qualities]
        forms = [form for form in FORMATS if form.name in self._arguments.formats]
        pictures = [self._pixels(item) for item in items[:MATCHED_ON]]
        key = {
            "matched": [form.describe() for form in forms],
            "bundle": self._ours.bundle.hex_id,
            "qualities": sorted(qualities),
            "pictures": [_crc(picture) for picture in pictures],
        }
        matched = self._records.measure(
            key, lambda: match_formats(self._ours, pictures, qualities, forms)
        )
        found += [Condition(name, float(q)) for name, settings in matched.items() for q in settings]
        return found

    def ask(self, item: Item, conditions: list[Condition]) -> list[list[Fields]]:
        """Bytes and what the model said, by condition and question."""
        pixels = self._pixels(item)
        crc = _crc(pixels)
        return [self._under(condition, item, pixels, crc) for condition in conditions]

    def _pixels(self, item: Item) -> Picture:
        resolution = self._arguments.resolution
        if resolution not in ("model", "native"):
            resolution = int(resolution)
        # A copy: torch takes no arrays that may not be written to.
        return np.array(fit(item.load(), resolution, self._ours.bundle.manifest.resolution))

    def _under(self, condition: Condition, item: Item, pixels: Picture, crc: int) -> list[Fields]:
        prompts = [self._prompt(question) for question in item.questions]
        keys = [self._key(condition, crc, prompt) for prompt in prompts]
        todo = [i for i, key in enumerate(keys) if self._records.get(key) is None]
        if todo:
            size, decoded = self._show(condition, pixels)
            seen = self._backend.see([decoded])[0]
            for start in range(0, len(todo), self._arguments.batch):
                part = todo[start : start + self._arguments.batch]
                room = self._arguments.max_new_tokens
                for prompt in (prompts[i] for i in part):
                    self._backend.check(prompt, room)
                found = self._backend.answer([Question(seen, prompts[i], room) for i in part])
                for i, answer in zip(part, found, strict=True):
                    if isinstance(answer, CotamError):
                        raise answer
                    self._records.add(keys[i], {"bytes": size, "said": answer.text})
        return [self._records.get(key) or {} for key in keys]

    def _prompt(self, question: Asked) -> str:
        return "\n".join(filter(None, (question.text, self._arguments.suffix)))

    def _key(self, condition: Condition, crc: int, prompt: str) -> Fields:
        return {
            "mllm": self._backend.name,
            "bundle": self._ours.bundle.hex_id,
            "crc": crc,
            "codec": condition.codec,
            "quality": condition.quality,
            "prompt": prompt,
            "max_new_tokens": self._arguments.max_new_tokens,
        }

    def _show(self, condition: Condition, pixels: Picture) -> Shown:
        if condition.codec == ORIGINAL:
            return pixels.nbytes, bare(pixels)
        if condition.ours:
            analysed = self._ours.analyse(pixels, condition.codec in ("guidance", "full"))
            stream = self._ours.encode(analysed, condition.quality)
            decoded = self._ours.decode(stream)
            adapted = condition.codec in ("adapter", "full")
            return len(stream), decoded if adapted else without_adapter(decoded)
        form = next(form for form in FORMATS if form.name == condition.codec)
        file = form.encode(pixels, int(condition.quality))
        return len(file), bare(decode(file))


def _crc(pixels: Picture) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).tobytes())


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
    names = list(dict.fromkeys(q.category for item in items for q in item.questions))
    categories = [OVERALL, *names] if len(names) > 1 else [OVERALL]
    weights = resamples(len(items))
    asked = weights @ _sums(items, categories, lambda p, q: 1)
    rows = []
    for number, condition in enumerate(conditions):
        shown = [picture[number] for picture in values]
        hits = weights @ _sums(
            items,
            categories,
            lambda p, q, shown=shown: is_right(shown[p][q]["said"], items[p].questions[q].answers),
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
    head = [f"{name} ({n:.0f})" for name, n in zip(categories, asked[0], strict=True)]
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


def _sums(items: list[Item], categories: list[str], value: Callable[[int, int], float]) -> Array:
    """Sums [pictures, categories] of one value a question, the first over all."""
    sums = np.zeros((len(items), len(categories)))
    for picture, item in enumerate(items):
        for number, question in enumerate(item.questions):
            found = value(picture, number)
            sums[picture, 0] += found
            if question.category in categories[1:]:
                sums[picture, categories.index(question.category, 1)] += found
    return sums
