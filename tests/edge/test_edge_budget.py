"""Budgets: how well they are filled, in how many passes, and what is said of those too small."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_client.coding.budget import LARGEST, SMALLEST
from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import load
from shared.bitstream import Bitstream
from shared.entropy_model import Encoded
from shared.errors import UsageError

Draw = Callable[..., np.ndarray]
EXAMPLES = Path(__file__).parents[2] / "examples"
JUMPY = 300  # bytes of a stream below which its size jumps from quality to quality, of noise


@pytest.mark.parametrize("kind", ["drawn", "drawn otherwise", "photograph", "noise", "faint noise"])
def test_budgets_are_filled_in_six_passes(kind: str, encoder: Encoder, draw: Draw) -> None:
    chance = np.random.default_rng(2)
    pictures = {
        "drawn": draw(300, 200, seed=0),
        "drawn otherwise": draw(300, 200, seed=1),
        "photograph": load(EXAMPLES / "beach.png"),
        "noise": chance.integers(0, 256, (200, 200, 3), np.uint8),
        "faint noise": chance.integers(118, 139, (200, 200, 3)).astype(np.uint8),
    }
    analysed = encoder.analyse(pictures[kind])
    code, passes = functools.cache(analysed._code), 0

    def counted(*wanted: float) -> tuple[Bitstream, Encoded]:
        nonlocal passes
        passes += 1
        return code(*wanted)

    smallest, largest = (len(code(*each)[0].to_bytes()) for each in (SMALLEST, LARGEST))
    analysed._code = counted  # type: ignore[method-assign]
    missed: list[int] = []
    for budget in np.geomspace(smallest, largest, 200).astype(int):
        passes = 0
        size = len(analysed.code_within(int(budget)).to_bytes())
        assert size <= budget
        assert passes <= 6
        if size < 0.95 * budget:
            missed.append(budget)
    # Streams of noise that have so few bytes grow by jumps, over which six passes may step: about
    # one budget in a hundred (docs/notes.md).
    assert len(missed) <= (2 if "noise" in kind else 0)
    assert max(missed, default=0) < JUMPY
    assert len(analysed.code_within(10 * largest).to_bytes()) == largest
    for budget in (-1, 1, int(0.9 * smallest), smallest - 1):
        passes = 0
        with pytest.raises(UsageError) as caught:
            analysed.code_within(budget)
        assert passes <= 6
        named = re.search(r"the smallest possible stream has (\d+)", str(caught.value))
        assert named is not None
        assert int(named[1]) == smallest
