"""Questions about a small first stream, and again, where an answer is not sure, about a finer one.

scene --first quality--> answers, sureness, attention --unsure ones--> cells --enhancement--> again
"""

from __future__ import annotations

import functools
import time
import zlib
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from cloud_server.inference.need import cells_wanted
from edge_client.coding.continuing import CodedPicture
from edge_client.server.protocol import enhancement_of, request_of
from edge_client.server.query import AskBack, Query
from evaluation.codecs.cotam import CotamCodec
from evaluation.judges.families import OVERALL, Posed
from evaluation.judges.packed_questions import PackedLlava
from evaluation.report.records import Fields, Records
from scenes import VERSION, Scene, Split
from scenes.questions import family
from shared.bundle import Bundle
from shared.layers.enhancement import Enhancement

UNSURE: Final = 0.95
"""Sureness above which no question is asked again, whatever threshold is looked at."""
THRESHOLDS: Final = (0.0, *np.round(np.arange(0.4, UNSURE + 1e-9, 0.025), 3).tolist())
"""Of sureness, below which it is asked back; 0 for never."""
HANDLE: Final = "ask_0123456789abcdef"


Array = NDArray[Any]


@dataclass(frozen=True, order=True)
class Plan:
    """How much is sent: quality of the first stream, cells that are asked for, their quality."""

    first: float
    cells: int
    quality: float


class Asker:
    """The codec and the language model of a bundle, and the file that answers go to."""

    def __init__(self, bundle: Bundle, records: Records, world: int = VERSION) -> None:
        self._cotam = CotamCodec(bundle)
        self._llava = PackedLlava(bundle)
        self._records, self._world = records, world

    def ask(self, split: Split, index: int, scene: Scene, plan: Plan) -> Fields:
        """What is known of a scene's questions under a plan.

        bytes: of the first stream. right, sure, probable: by question. second: by the number of an
        unsure question bytes of the enhancement, right, probable. families, prompts: what is asked,
        and in how many bytes. ms: processor time of the server for the first and a second answer.
        """
        key = {
            "scenes": self._world,
            "split": split,
            "index": index,
            "crc": zlib.crc32(scene.picture.tobytes()),
            "bundle": self._cotam.bundle.hex_id,
            "plan": [plan.first, plan.cells, plan.quality],
            "unsure": UNSURE,
        }
        return self._records.measure(key, self._measure, scene, plan)

    def _measure(self, scene: Scene, plan: Plan) -> Fields:
        analysed = self._cotam.analyse(scene.picture, True)
        stream = analysed.code(plan.first)
        decoder, llava = self._cotam.decoder, self._llava
        asked = [llava.ask(question) for question in scene.questions]
        start = time.process_time()
        latents = decoder.read(stream, keep=True)
        assert latents.known is not None
        features = llava.see(decoder.restore([latents]))
        decoded_ms = time.process_time() - start
        first = llava.grade(features, asked)
        vision = llava.backend.tower.vision
        nearest = vision.tokens_of_latents(stream.height, stream.width, features.shape[1])
        second: dict[str, Any] = {}
        spent = []
        for number in np.flatnonzero(first.sure[0] < UNSURE).tolist():
            looked = None if nearest is None else first.looked[0, number][nearest]
            cells = cells_wanted(stream.width, stream.height, latents.level_map, looked, plan.cells)
            raw = CodedPicture(analysed, stream).enhancement(cells, plan.quality)
            start = time.process_time()
            finer = decoder.read_on(latents.known, Enhancement.from_bytes(raw))
            again = llava.grade(llava.see(decoder.restore([finer])), [asked[number]])
            spent.append(time.process_time() - start)
            right, probable = int(again.right[0, 0]), round(float(again.probable[0, 0]), 4)
            second[str(number)] = [len(raw), right, probable]
        return {
            "bytes": len(stream.to_bytes()),
            "right": first.right[0].astype(int).tolist(),
            "sure": first.sure[0].astype(float).round(5).tolist(),
            "probable": first.probable[0].astype(float).round(4).tolist(),
            "second": second,
            "families": [family(scene, question) for question in scene.questions],
            "prompts": [len(question.prompt.encode()) for question in scene.questions],
            "ms": [1000 * decoded_ms, 1000 * float(np.mean(spent)) if spent else None],
        }


@dataclass(frozen=True)
class Asked:
    """Sums over the questions of each picture, f64 [P]: questions, right answers, stream bytes,
    second requests, bytes of questions and headers."""

    asked: Array
    right: Array
    bytes: Array
    rounds: Array
    around: Array

    def means(self, weights: Array) -> tuple[Array, Array, Array, Array]:
        """Accuracy, stream bytes, bytes as they travel and second requests an answer, [R] each."""
        total = weights @ self.asked
        sums = self.right, self.bytes, self.rounds
        right, size, second = (weights @ each / total for each in sums)
        return right, size, size + weights @ self.around / total, second


def sums_of(values: list[Fields], threshold: float, column: str = OVERALL) -> Asked:
    """What asking back below a sureness gives, over the questions of a column."""
    first, again = framing(True), framing_of_enhancement()
    rows = []
    for value in values:
        row = np.zeros(5)
        for number, name in enumerate(value["families"]):
            if column not in Posed(name, "").columns:
                continue
            size, right, more = value["bytes"], value["right"][number], 0
            if value["sure"][number] < threshold:
                enhancement, right, _ = value["second"][str(number)]
                size, more = size + enhancement, 1
            around = first + value["prompts"][number] + more * again
            row += [1, right, size, more, around]
        rows.append(row)
    return Asked(*np.array(rows).T)


@functools.cache
def framing(asks: bool) -> int:
    """Bytes around stream and question of a request as httpx writes it."""
    query = Query(b"", "?", ask_back=AskBack() if asks else None)
    return _bytes_of(request_of(query)) - 1


@functools.cache
def framing_of_enhancement() -> int:
    return _bytes_of(enhancement_of(HANDLE, b""))


def _bytes_of(arguments: dict[str, Any]) -> int:
    with httpx.Client(base_url="http://127.0.0.1:54321") as client:
        client.headers.clear()
        request = client.build_request(
            **{**arguments, "content": arguments["content"] + b"0" * 300}
        )
    first = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
    head = sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
    return len(first) + head + 2 + len(arguments["content"])


def choose(chosen_on: dict[Plan, list[Fields]], target: float) -> tuple[Plan, float]:
    """The plan and threshold that reach an accuracy in the fewest bytes as they travel."""
    every = []
    for plan, values in chosen_on.items():
        ones = np.ones((1, len(values)))
        for threshold in THRESHOLDS:
            right, _, travel, _ = (each[0] for each in sums_of(values, threshold).means(ones))
            every.append((right < target, travel if right >= target else -right, plan, threshold))
    _, _, plan, threshold = min(every)
    return plan, threshold
