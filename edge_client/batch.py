"""Many jobs at once, answers in the order of the questions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], concurrency: int
) -> Iterator[Result]:
    """`work` of each item, up to `concurrency` at a time, results in the order of the items.

    Items are taken as they are needed, so their supply may be endless. Left early, nothing new
    is begun.
    """
    if concurrency <= 1:
        yield from map(work, items)
        return
    supply = iter(items)
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            for item in supply:
                running.append(pool.submit(work, item))
                if len(running) >= concurrency:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
