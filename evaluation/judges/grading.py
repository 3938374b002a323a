"""Asks a bundle's language model about scenes under many conditions, and writes its grades down."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from evaluation.judges.accuracy import ORIGINAL, Condition, key_of, prompts_key
from evaluation.judges.conditions import Transmit
from evaluation.judges.packed_questions import PackedLlava
from evaluation.judges.variants import Variant
from evaluation.report.records import Records
from scenes import VERSION, Scene
from scenes.questions import family
from shared.bundle import ADAPTER, Bundle
from shared.errors import UsageError
from shared.tower import same_tower

AT_ONCE: Final = 12  # conditions in one pass


class Grader:
    """The language model of a bundle, and the file that its grades go to."""

    def __init__(
        self,
        bundle: Bundle,
        records: Records,
        variants: Sequence[Variant] = (),
        world: int = VERSION,
    ) -> None:
        """world: of the scenes. Raises UsageError where a variant has no adapter for the bundle's
        tower.
        """
        self.llava = PackedLlava(bundle, [variant.bundle for variant in variants])
        self._model, self._world = bundle.hex_id, world
        self._records = records
        for variant in variants:
            tower = self.llava.backend.tower.vision.fingerprint
            made_for = variant.bundle.manifest.tower.fingerprint
            if not (variant.bundle.has(ADAPTER) and same_tower(made_for, tower)):
                raise UsageError(
                    f"{variant.label} has no adapter for the tower of bundle {bundle.hex_id}",
                    hint="export it with an adapter that was trained on that tower",
                )

    def grade(
        self, index: int, scene: Scene, conditions: Iterable[Condition], show: Transmit
    ) -> None:
        """Ask all questions of a scene under the conditions that are not yet written down.

        `show` makes what the model gets. The scene as it was drawn is always asked about.
        """
        if not scene.questions:
            return
        crc = zlib.crc32(scene.picture.tobytes())
        prompts = [question.prompt for question in scene.questions]
        self._records.measure(prompts_key(index, crc, self._world), lambda: {"prompts": prompts})
        keys = {
            condition: key_of(self._model, index, crc, condition, self._world)
            for condition in (Condition(ORIGINAL), *conditions)
        }
        todo = [condition for condition in keys if self._records.get(keys[condition]) is None]
        asked = [self.llava.ask(question) for question in scene.questions]
        for start in range(0, len(todo), AT_ONCE):
            part = todo[start : start + AT_ONCE]
            shown = [show(condition) for condition in part]
            grades = self.llava.grade(self.llava.see([decoded for _, decoded in shown]), asked)
            for number, condition in enumerate(part):
                value: dict[str, Any] = {
                    "bytes": shown[number][0],
                    "right": grades.right[number].astype(int).tolist(),
                    "probable": grades.probable[number].astype(float).round(4).tolist(),
                }
                if condition.codec == ORIGINAL:
                    value["families"] = [family(scene, question) for question in scene.questions]
                    value["answers"] = [question.answer for question in scene.questions]
                self._records.add(keys[condition], value)
