"""Asks a bundle's language model about scenes under many conditions, and writes its grades down."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cloud_server.decoder import Decoded
from evaluation.accuracy import ORIGINAL, Condition, key_of
from evaluation.ours import bare
from evaluation.packed import PackedLlava
from evaluation.records import Records
from scenes import Scene
from scenes.questions import family
from shared.bundle import Bundle

AT_ONCE: Final = 12  # conditions in one pass

Shown = tuple[int, Decoded]
"""Bytes on the wire, and what the model gets."""


class Grader:
    """The language model of a bundle, and the file that its grades go to."""

    def __init__(self, bundle: Bundle, records: Records, adapters: Sequence[Bundle] = ()) -> None:
        self.llava = PackedLlava(bundle, adapters)
        self._model = bundle.hex_id
        self._records = records

    def grade(
        self, index: int, scene: Scene, show: Mapping[Condition, Callable[[], Shown]]
    ) -> None:
        """Ask all questions of a scene under the conditions that are not yet written down.

        `show` makes what the model gets; the scene as it was drawn comes by itself.
        """
        show = {Condition(ORIGINAL): lambda: (scene.picture.size, bare(scene.picture)), **show}
        crc = zlib.crc32(scene.picture.tobytes())
        keys = {c: key_of(self._model, index, crc, c) for c in show}
        todo = [c for c in show if self._records.get(keys[c]) is None]
        if not scene.questions:
            return
        asked = [self.llava.ask(question) for question in scene.questions]
        for start in range(0, len(todo), AT_ONCE):
            part = todo[start : start + AT_ONCE]
            shown = [show[condition]() for condition in part]
            found = self.llava.grade(self.llava.see([decoded for _, decoded in shown]), asked)
            for number, condition in enumerate(part):
                value: dict[str, Any] = {
                    "bytes": shown[number][0],
                    "right": found.right[number].astype(int).tolist(),
                    "probable": found.probable[number].astype(float).round(4).tolist(),
                }
                if condition.codec == ORIGINAL:
                    value["families"] = [family(scene, question) for question in scene.questions]
                    value["answers"] = [question.answer for question in scene.questions]
                self._records.add(keys[condition], value)
