"""Questions about a small first stream, and again, where an answer is not sure, about a finer one.

scene --first quality--> answers, sureness, attention --unsure ones--> cells --enhancement--> again
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloud_server.inference.need import cells_wanted
from edge_client.coding.continuing import CodedPicture
from evaluation.codecs.cotam import CotamCodec
from evaluation.judges.packed_questions import PackedLlava
from evaluation.report.records import Fields, Records
from scenes import VERSION, Scene, Split
from scenes.questions import family
from shared.bundle import Bundle
from shared.layers.enhancement import Enhancement

UNSURE: Final = 0.95
"""Sureness above which no question is asked again, whatever threshold is looked at."""


@dataclass(frozen=True, order=True)
class Plan:
    """How much is sent: quality of the first stream, cells that are asked for, their quality."""

    first: float
    cells: int
    quality: float


class Asker:
    """The codec and the language model of a bundle, and the file that answers go to."""

    def __init__(self, bundle: Bundle, records: Records) -> None:
        self._cotam = CotamCodec(bundle)
        self._llava = PackedLlava(bundle)
        self._records = records

    def ask(self, split: Split, index: int, scene: Scene, plan: Plan) -> Fields:
        """What is known of a scene's questions under a plan.

        bytes: of the first stream. right, sure, probable: by question. second: by the number of an
        unsure question bytes of the enhancement, right, probable. families, prompts: what is asked,
        and in how many bytes. ms: processor time of the server for the first and a second answer.
        """
        key = {
            "scenes": VERSION,
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
