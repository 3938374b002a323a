"""Pictures that are kept for later questions: looked at once, bounded in number, bytes and time."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.errors import NotFound
from shared.schemas import ImageInfo

if TYPE_CHECKING:
    from cloud_server.inference.mllm.base import VisualInput

ID_PREFIX: Final = "img_"


@dataclass(frozen=True)
class Kept:
    """A picture as the model keeps it, and what came of it over the wire."""

    visual: VisualInput
    image: ImageInfo
    until: float


class ImageStore:
    """Pictures by caller and id; the oldest go where there are too many."""

    def __init__(
        self,
        most: int,
        most_bytes: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._most_bytes, self._ttl = most, most_bytes, ttl_s
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, caller: str, visual: VisualInput, image: ImageInfo) -> str:
        """Keep a picture; returns its id, which cannot be guessed."""
        name = (caller, ID_PREFIX + secrets.token_urlsafe(16))
        self._kept[name] = Kept(visual, image, self._clock() + self._ttl)
        self.bytes += visual.size
        while len(self._kept) > self._most or self.bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))
        self._forget()
        return name[1]

    def get(self, caller: str, image_id: str) -> Kept:
        """A picture of this caller. Raises NotFound."""
        self._forget()
        kept = self._kept.get((caller, image_id))
        if kept is None:
            raise NotFound(
                f"there is no picture {image_id[:64]!r}, or no more",
                hint="send it again with POST /v1/images",
            )
        return kept

    def delete(self, caller: str, image_id: str) -> None:
        """Forget a picture. Raises NotFound."""
        self.get(caller, image_id)
        self._drop((caller, image_id))

    def _forget(self) -> None:
        """Drop what is too old: all live equally long, so these are the first."""
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: tuple[str, str]) -> None:
        self.bytes -= self._kept.pop(name).visual.size
