"""The search for a stream that fills a budget of bytes: which coding passes to make.

A pass codes latents at a quality code and a price of bits (`shared.coding.symbol_coder`). The code
is the coarse handle: sizes over it are roughly known before anything is coded, but jagged, so that
one code more may be a few bytes less. The price is the fine one: at one code the size falls
steadily as bits become dearer, and a pass tells how steeply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.bitstream import MAX_QUALITY_CODE
from shared.coding.symbol_coder import BIT_PRICE
from shared.entropy_model import Encoded

SLACK: Final = 0.05
"""Share of a budget that may stay empty."""
MOST_PASSES: Final = 6
DEAREST: Final = 16 * BIT_PRICE
"""From there on a lower quality code is better for sure."""
SMALLEST: Final = (0, DEAREST)
LARGEST: Final = (MAX_QUALITY_CODE, BIT_PRICE)
_SPREAD: Final = 1.15  # what a price saves over what its symbols cost, for they tell of each other
_APART: Final = 1.05  # times a price, for another pass at that code
_INSIDE: Final = 0.2  # of the way between two prices that a third one keeps from both
_FEWER: Final = 5  # quality codes, where the dearest bits at one take a few bytes too many
_BOLDER: Final = 1.5  # times the way to the budget, for whoever missed it twice on the same side
_MOST_WRONG: Final = 2.5  # times the expected growth


@dataclass(frozen=True)
class Pass:
    """A coding pass: its quality code, price of a bit, and the bytes of the whole stream."""

    code: int
    price: float
    size: int
    encoded: Encoded

    def saved(self, price: float) -> float:
        """Bytes that the symbols hold which a higher price would drop."""
        return float(self.encoded.bits[self.encoded.prices < price].sum()) / 8

    def price_that_saves(self, size: float) -> float:
        """The lowest price at which `saved` is `size` bytes; infinite where none saves so much."""
        order = np.argsort(self.encoded.prices)
        saved = np.cumsum(self.encoded.bits[order], dtype=np.float64) / 8
        last = int(np.searchsorted(saved, size))
        return float(self.encoded.prices[order[last]]) if last < len(order) else math.inf

    def spread(self, dearer: Pass) -> float:
        """What a dearer pass at that code saved over what was told of it, 0.3 at least."""
        return max((self.size - dearer.size) / max(self.saved(dearer.price), 1.0), 0.3)


class Search:
    """Says which pass to make next, and keeps those that were made.

    budget: bytes. expected: f64 [181], rising: about the size at each code and the usual price.
    """

    def __init__(self, budget: int, expected: NDArray[np.float64]) -> None:
        self.passes: list[Pass] = []
        self._budget, self._expected = budget, expected

    def next_pass(self) -> tuple[int, float] | None:
        """Quality code and price that were not tried, or None where no pass would gain more."""
        budget = self._budget
        made = {(p.code, p.price): p.size for p in self.passes}
        filled = any(budget * (1 - SLACK) <= size <= budget for size in made.values())
        hopeless = made.get(SMALLEST, budget) > budget
        all_of_it = made.get(LARGEST, budget + 1) <= budget
        if filled or hopeless or all_of_it or len(made) == MOST_PASSES:
            return None
        if len(made) == MOST_PASSES - 1 and min(made.values()) > budget:
            return SMALLEST  # of all the likeliest to fit, and what an error has to name
        dearer = [each for code in {p.code for p in self.passes} if (each := self._dearer(code))]
        untried = [each for each in dearer if each not in made]
        if untried:
            return min(untried, key=lambda each: each[1])
        return self._code(), BIT_PRICE

    def _dearer(self, code: int) -> tuple[int, float] | None:
        """What the passes at a code speak for, where a higher price may do there or beside it."""
        passes = sorted((p for p in self.passes if p.code == code), key=lambda p: p.price)
        over = [p for p in passes if p.size > self._budget]
        if not over:
            return None
        low = over[-1]
        if low.price == DEAREST:
            near = low.size * (1 - SLACK) <= self._budget
            return (max(code - _FEWER, 0), DEAREST) if near else None
        spare = low.size - self._budget * (1 - SLACK / 2)
        if low is passes[-1]:
            spread = _SPREAD if low is over[0] else over[-2].spread(low)
            price = max(low.price_that_saves(spare / spread), low.price * _APART)
            reached = low.size - low.saved(DEAREST) <= self._budget
            return (code, min(price, DEAREST)) if code == 0 or reached else None
        high = passes[len(over)]
        if high.price < low.price * _APART:
            return max(code - 1, 0), low.price  # over the budget by a jump: less of it, elsewhere
        way = (high.price / low.price) ** _INSIDE
        price = low.price_that_saves(spare / low.spread(high))
        return code, min(max(price, low.price * way), high.price / way)

    def _code(self) -> int:
        """The untried code nearest to what the sizes so far speak for, all at the usual price."""
        sizes = {p.code: p.size for p in self.passes if p.price == BIT_PRICE}
        wanted = self._wanted(sizes)
        untried = (code for code in range(MAX_QUALITY_CODE + 1) if code not in sizes)
        return min(untried, key=lambda code: abs(code - wanted))

    def _wanted(self, sizes: dict[int, int]) -> float:
        expected, budget = self._expected, self._budget
        every = np.arange(len(expected))
        if not sizes:
            return float(np.interp(budget, expected, every))
        high = min((code for code, size in sizes.items() if size > budget), default=None)
        low = max((code for code in sizes if high is None or code < high), default=None)
        if low is not None and high is not None:
            # Between two ends the logarithm of sizes is nearly straight over the code.
            share = math.log(budget / sizes[low]) / math.log(sizes[high] / sizes[low])
            return low + share * (high - low)
        end, *others = sorted(sizes, reverse=high is None)
        change = float(budget - sizes[end])
        if others:
            slope = (sizes[others[0]] - sizes[end]) / (expected[others[0]] - expected[end])
            change *= _BOLDER / min(max(slope, 1 / _MOST_WRONG), _MOST_WRONG)
        return float(np.interp(expected[end] + change, expected, every))
