"""What `send`, `encode`, `map` and `bench` share: naming, reading and coding pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from edge_client.pictures.download import is_url
from edge_client.pictures.inputs import STDIN
from shared.bitstream import SUFFIX, Bitstream
from shared.errors import UsageError

if TYPE_CHECKING:
    from edge_client.coding.picture_coder import PictureCoder
    from edge_client.pictures.images import Picture


def named_source(picture: str) -> tuple[str | BinaryIO, str]:
    """What a picture of the command line is read from, and what messages call it."""
    return (sys.stdin.buffer, "standard input") if picture == STDIN else (picture, picture)


def encode_named(coder: PictureCoder, picture: str) -> Bitstream:
    """The stream of a file, or of standard input for -."""
    source, name = named_source(picture)
    return coder.encode(source, name=name)


def pixels_named(coder: PictureCoder, picture: str) -> Picture:
    """The pixels of a file or of standard input, at the resolution at which they are coded."""
    source, name = named_source(picture)
    return coder.pixels(source, name=name)


class Places:
    """Where the streams of a batch go: a file for one picture, files in a folder for several.

    target: as given by the user, or None for places beside the pictures.
    """

    def __init__(self, pictures: Sequence[str], target: Path | None) -> None:
        self._taken: dict[str, int] = {}
        self._target = target
        self._in_folder = target is not None and (len(pictures) > 1 or target.is_dir())
        if self._in_folder and target is not None:
            try:
                target.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{target} is no folder: {error.strerror}") from error

    def of(self, picture: str) -> Path:
        """The place of a picture's stream; pictures of the same name get numbers."""
        path = Path("stdin" if picture == STDIN else picture)
        if is_url(picture):
            path = Path(Path(urlsplit(picture).path).name or "picture")
        if self._target is not None and not self._in_folder:
            return self._target
        folder = path.parent if self._target is None else self._target
        name = str(folder / path.stem)
        self._taken[name] = count = self._taken.get(name, 0) + 1
        return Path(name + (f"-{count}" if count > 1 else "") + SUFFIX)


def describe(picture: str, stream: Bitstream) -> str:
    """A line about a coded picture."""
    size = len(stream.to_bytes())
    return (
        f"{picture}: {stream.width}x{stream.height} at quality {stream.quality:g} in "
        f"{size} bytes, {8 * size / (stream.width * stream.height):.3f} bpp"
    )


def record_of(stream: Bitstream) -> dict[str, Any]:
    """A coded picture for `--json`."""
    size = len(stream.to_bytes())
    return {
        "width": stream.width,
        "height": stream.height,
        "quality": stream.quality,
        "bytes": size,
        "bpp": round(8 * size / (stream.width * stream.height), 5),
        "codec": stream.codec_id.hex(),
    }
