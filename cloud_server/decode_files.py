"""`cloud_server decode`: files of streams become files of pictures, whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from cloud_server.decoding import DEFAULT_SUFFIX, FORMATS, picture_file
from shared.bitstream import SUFFIX, Limits
from shared.errors import CotamError, UsageError
from shared.files import write_named
from shared.frames import SUFFIX as CLIP_SUFFIX

PIPE: Final = "-"

Decode = Callable[[bytes | str], Image.Image]


def expand(named: Iterable[str]) -> list[str]:
    """Files, folders (the streams in them) and -, as one list.

    Raises UsageError for a folder without any.
    """
    streams: dict[str, None] = {}
    for name in named:
        if not os.path.isdir(name):  # noqa: PTH112 -- false, not an error, for names that cannot be
            streams[name] = None
            continue
        inside = sorted(
            str(path) for suffix in (SUFFIX, CLIP_SUFFIX) for path in Path(name).glob(f"*{suffix}")
        )
        if not inside:
            raise UsageError(f"there is no stream in {name}", hint=f"their names end in {SUFFIX}")
        streams.update(dict.fromkeys(inside))
    return list(streams)


class Places:
    """Where the pictures of a batch go; a file that is there already stays, unless `force` is set.

    target: a file for one stream, a folder for several, - for standard output; None for places
    beside the streams, and for standard output where the stream came in by a pipe. Raises
    UsageError for a target that cannot be.
    """

    def __init__(self, streams: list[str], target: str | None, force: bool) -> None:
        self._force = force
        self._taken: set[Path] = set()
        if target is None and streams == [PIPE]:
            target = PIPE
        self.pipe = target == PIPE
        self._file = self._folder = None
        if self.pipe:
            if len(streams) > 1:
                raise UsageError(f"{len(streams)} pictures do not fit into one pipe", hint="-o DIR")
            if sys.stdout.isatty():
                raise UsageError("a terminal shows no picture", hint="-o FILE, or pipe it")
        elif target is not None and len(streams) == 1 and not _means_folder(target):
            self._file = Path(target)
            if self._file.suffix.lower() not in FORMATS:
                known = " ".join(FORMATS)
                raise UsageError(f"{target} names no picture", hint=f"it must end in {known}")
        elif target is not None:
            self._folder = Path(target)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{target} is no folder: {error.strerror}") from error

    def of(self, stream: str) -> Path:
        """The place of a stream's picture. Raises UsageError where something is there."""
        place = self._file
        if place is None:
            path = Path("stdin" if stream == PIPE else stream)
            # Beside a stream often lies the picture that it was made of.
            beside = path.with_name(f"{path.stem}.decoded{DEFAULT_SUFFIX}")
            inside = f"{path.stem}{DEFAULT_SUFFIX}"
            place = beside if self._folder is None else self._folder / inside
        if place in self._taken:
            raise UsageError(f"{place} is the picture of another stream already")
        if place.exists() and not self._force:
            raise UsageError(f"{place} exists", hint="--force writes over it")
        self._taken.add(place)
        return place


def decode_files(
    streams: list[str], places: Places, decode: Decode, say: Callable[[str], None]
) -> Iterator[tuple[str, CotamError]]:
    """Write the picture of each stream and tell about it; yields those that failed, and why."""
    for name in streams:
        try:
            if places.pipe:
                _put(picture_file(_decode(decode, name), DEFAULT_SUFFIX))
                continue
            place = places.of(name)
            image = _decode(decode, name)
            write_named(place, picture_file(image, place.suffix.lower()))
            say(f"{place}: {image.width}x{image.height}")
        except CotamError as error:
            yield name, error


def _decode(decode: Decode, name: str) -> Image.Image:
    if name == PIPE:
        return decode(sys.stdin.buffer.read(Limits().stream_bytes + 1))
    return decode(name)


def _put(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # Python would try again when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"standard output cannot be written: {error.strerror}") from error


def _means_folder(target: str) -> bool:
    return target.endswith(("/", os.sep)) or Path(target).is_dir()
