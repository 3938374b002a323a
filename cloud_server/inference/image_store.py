"""What is kept for the next request of a caller: pictures that were looked at, last frames of
clips, and questions that wait for an enhancement. Bounded in number, bytes and time.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from shared.errors import NotFound
from shared.layers.cells import Cells
from shared.schemas import ImageInfo

if TYPE_CHECKING:
    from cloud_server.inference.mllm.base import VisualInput
    from shared.clips.kept_frame import KeptFrame

ID_PREFIX: Final = "img_"
ID_BYTES: Final = 16
HANDLE_BYTES: Final = 12  # handles travel, and live for minutes: 96 bits are not guessed


@dataclass(frozen=True)
class Kept:
    """A picture as the model keeps it, and what came of it over the wire.

    layers: the stream and the enhancements that it was decoded from, empty for other pictures.
    """

    visual: VisualInput
    image: ImageInfo
    layers: bytes = b""

    prefix: ClassVar = ID_PREFIX
    id_bytes: ClassVar = ID_BYTES

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.visual.size + len(self.layers)


@dataclass(frozen=True)
class LastFrame:
    """The last frame of a clip, from which a later one may go on. Nobody can ask about it."""

    frame: KeptFrame

    prefix: ClassVar = ID_PREFIX
    id_bytes: ClassVar = ID_BYTES

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.frame.size


@dataclass(frozen=True)
class OpenQuestion:
    """A question whose answer was not sure enough, and what was asked for.

    layers: as of `Kept`. cells: may become finer, no others. image_id: of the kept picture that the
    question is about, which an enhancement improves; empty where it came with the question.
    """

    layers: bytes
    image: ImageInfo
    prompt: str
    max_new_tokens: int
    cells: Cells
    image_id: str = ""

    prefix: ClassVar = "ask_"
    id_bytes: ClassVar = HANDLE_BYTES

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.layers) + len(self.prompt.encode()) + self.cells.chosen.nbytes


Item = Kept | LastFrame | OpenQuestion


@dataclass(frozen=True)
class _Held:
    item: Item
    until: float


class ImageStore:
    """Pictures and open questions by caller and id; where there are too many, the oldest go of who
    has the most.
    """

    def __init__(
        self,
        most: int,
        most_bytes: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._most_bytes, self._ttl = most, most_bytes, ttl_s
        self._clock = clock
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, caller: str, item: Item) -> str:
        """Keep a picture or question; returns its id, which cannot be guessed."""
        name = (caller, item.prefix + secrets.token_urlsafe(item.id_bytes))
        self._held[name] = _Held(item, self._clock() + self._ttl)
        self._grow(item.size)
        return name[1]

    def has(self, caller: str, name: str) -> bool:
        """Whether a picture or question of this caller is here."""
        return self._find(caller, name) is not None

    def take(self, caller: str, name: str) -> tuple[Item, float] | None:
        """Give up a picture or question to another store: it, and the seconds that it has left."""
        if self._find(caller, name) is None:
            return None
        held = self._held[caller, name]
        self._drop((caller, name))
        return held.item, held.until - self._clock()

    def adopt(self, caller: str, name: str, item: Item, left_s: float) -> None:
        """Keep under its name what another store gave up, for the time that it has left."""
        self._held[caller, name] = _Held(item, self._clock() + left_s)
        self._grow(item.size)

    def get(self, caller: str, image_id: str) -> Kept:
        """A picture of this caller. Raises NotFound."""
        item = self._find(caller, image_id)
        if not isinstance(item, Kept):
            raise _no_picture(image_id)
        return item

    def frame(self, caller: str, image_id: str) -> KeptFrame | None:
        """The last frame of a clip of this caller; None where there is none, or no more."""
        item = self._find(caller, image_id)
        return item.frame if isinstance(item, LastFrame) else None

    def move_on(self, caller: str, image_id: str, frame: KeptFrame) -> str:
        """Keep a frame in the place of the one that it goes on from, for as long as a new one.

        Returns its id: the same, and another where nothing is there of that id.
        """
        if self.frame(caller, image_id) is None:
            return self.put(caller, LastFrame(frame))
        self._drop((caller, image_id))
        self.adopt(caller, image_id, LastFrame(frame), self._ttl)
        return image_id

    def question(self, caller: str, handle: str) -> OpenQuestion:
        """An open question of this caller. Raises NotFound."""
        item = self._find(caller, handle)
        if not isinstance(item, OpenQuestion):
            raise NotFound(
                f"no question {handle[:64]!r} waits for an enhancement, or no more",
                hint="take the provisional answer, or ask again with POST /v1/query",
            )
        return item

    def improve(self, caller: str, image_id: str, better: Kept) -> None:
        """Put a picture in the place of one, for as long as that was to stay, if it is there."""
        held = self._held.get((caller, image_id))
        if held is not None and isinstance(held.item, Kept):
            self._held[caller, image_id] = replace(held, item=better)
            self._grow(better.size - held.item.size)

    def delete(self, caller: str, image_id: str) -> None:
        """Forget a picture, or the last frame of a clip. Raises NotFound."""
        if not isinstance(self._find(caller, image_id), Kept | LastFrame):
            raise _no_picture(image_id)
        self._drop((caller, image_id))

    def close(self, caller: str, handle: str) -> None:
        """Forget an open question. Raises NotFound."""
        self.question(caller, handle)
        self._drop((caller, handle))

    def _find(self, caller: str, name: str) -> Item | None:
        self._forget()
        held = self._held.get((caller, name))
        return None if held is None or held.until <= self._clock() else held.item

    def _grow(self, size: int) -> None:
        self.bytes += size
        while len(self._held) > self._most or self.bytes > self._most_bytes:
            self._drop(self._crowds_out())
        self._forget()

    def _crowds_out(self) -> tuple[str, str]:
        """The oldest of the caller that has the most of what there is too much of."""
        too_many = len(self._held) > self._most
        most: Counter[str] = Counter()
        for (caller, _), held in self._held.items():
            most[caller] += 1 if too_many else held.item.size
        greedy = most.most_common(1)[0][0]
        return next(name for name in self._held if name[0] == greedy)

    def _forget(self) -> None:
        """Drop what is too old. All live equally long, so these are the first; one that came from
        another store goes with those that are kept after it.
        """
        now = self._clock()
        while self._held and next(iter(self._held.values())).until <= now:
            self._drop(next(iter(self._held)))

    def _drop(self, name: tuple[str, str]) -> None:
        self.bytes -= self._held.pop(name).item.size


def _no_picture(image_id: str) -> NotFound:
    return NotFound(
        f"there is no picture {image_id[:64]!r}, or no more",
        hint="send it again with POST /v1/images",
    )
