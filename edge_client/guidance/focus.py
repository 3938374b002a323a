"""What a question is about, by the words that a bundle's guidance graph has learnt to find.

question --words that the graph knows--> things --its output `shown`--> relevance of each patch
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import BundleCorrupt
from shared.level_map import LevelMap

SHOWN: Final = "shown"
WORDS: Final = "words"
RELEVANT: Final = 0.1
"""From which chance that it shows what is asked about a patch counts as relevant: tried on a dozen
validation scenes."""

Thing = tuple[int, ...]
"""Channels of what words next to each other name, as of a red car."""


@dataclass(frozen=True)
class Focus:
    """The words that a guidance graph knows, and the channels of `shown` that they stand for."""

    words: Mapping[str, int]

    @classmethod
    def of(cls, session: Any) -> Focus | None:
        """Of an onnxruntime session; None where its graph has learnt no words.

        Raises BundleCorrupt where it has, and they are not a channel each.
        """
        outputs = {output.name: output for output in session.get_outputs()}
        if SHOWN not in outputs:
            return None
        try:
            words = json.loads(session.get_modelmeta().custom_metadata_map[WORDS])
            most = int(outputs[SHOWN].shape[1])
            if not all(type(n) is int and 0 <= n < most for n in words.values()):
                raise ValueError
        except (KeyError, ValueError, AttributeError, TypeError, IndexError) as error:
            raise BundleCorrupt(
                "the words of the guidance graph are no channels of what it shows",
                hint="fetch or export the bundle again",
            ) from error
        return cls(words)

    def things(self, question: str) -> list[Thing]:
        """What a question names, each once; none where the graph knows none of its words."""
        things: list[Thing] = []
        thing: Thing = ()
        for word in [*re.findall(r"\w+", question.lower()), ""]:
            if word in self.words:
                thing += (self.words[word],)
            elif thing:
                things.append(thing)
                thing = ()
        return list(dict.fromkeys(things))


def relevance(shown: NDArray[np.float32], things: Sequence[Thing]) -> NDArray[np.float32]:
    """How likely each patch shows one of the things, f32 [rows, columns] of `shown` [words, ...].

    A thing of several words is as likely as the least of them.
    """
    likelihood: NDArray[np.float32] = np.max(
        [shown[list(thing)].min(axis=0) for thing in things], axis=0
    )
    return likelihood


def focused(level_map: LevelMap, relevant: NDArray[np.float32]) -> LevelMap:
    """The map with fewer bits for cells of its top level that are not relevant: of two levels there
    are then three. relevant: f32 [rows, columns]."""
    values, count = level_map.values, level_map.levels
    other = ((values == count - 1) & (relevant <= RELEVANT)).astype(np.uint8)
    if count == 2:
        return replace(level_map, values=2 * values - other, levels=3)
    return replace(level_map, values=values - other)
