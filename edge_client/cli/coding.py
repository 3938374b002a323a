"""What `send`, `encode`, `map` and `bench` share: naming, reading and coding pictures."""

from __future__ import annotations

import base64
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from edge_client.pictures.download import is_url
from edge_client.pictures.inputs import STDIN
from shared.bitstream import SUFFIX, Bitstream
from shared.errors import UsageError
from shared.layers.enhancement import Enhancement

Layers = tuple[Bitstream, Sequence[Enhancement]]
"""The stream of a picture and what continues it."""

if TYPE_CHECKING:
    from edge_client.coding.coded_clip import CodedClip
    from edge_client.coding.picture_coder import PictureCoder
    from edge_client.pictures.images import Picture


def named_source(picture: str) -> tuple[str | BinaryIO, str]:
    """What a picture of the command line is read from, and what messages call it."""
    return (sys.stdin.buffer, "standard input") if picture == STDIN else (picture, picture)


def layers_named(
    coder: PictureCoder, picture: str, qualities: Sequence[float], cells: str | None = None
) -> Layers:
    """The stream of a file or of standard input, and what continues it at each further quality.

    cells: base64 of those that do, all where it is None. Raises UsageError for no base64.
    """
    source, name = named_source(picture)
    coded = coder.code(source, name=name)
    chosen = None
    if cells is not None:
        from shared.layers.cells import Cells  # with numpy, which most commands start without

        try:
            payload = base64.b64decode(cells, validate=True)
        except ValueError as error:
            raise UsageError(
                "--cells is no base64", hint="as `need` of an answer has it"
            ) from error
        chosen = Cells.decode(payload, coded.stream.width, coded.stream.height)
    later = (coded.enhancement(chosen, quality) for quality in qualities)
    return coded.stream, [Enhancement.from_bytes(each) for each in later]


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

    def of(self, picture: str, suffix: str = SUFFIX) -> Path:
        """The place of a picture's or clip's stream; those of the same name get numbers."""
        path = Path("stdin" if picture == STDIN else picture)
        if is_url(picture):
            path = Path(Path(urlsplit(picture).path).name or "picture")
        if self._target is not None and not self._in_folder:
            return self._target
        folder = path.parent if self._target is None else self._target
        name = str(folder / path.stem)
        self._taken[name] = count = self._taken.get(name, 0) + 1
        return Path(name + (f"-{count}" if count > 1 else "") + suffix)


def describe(picture: str, stream: Bitstream | CodedClip, later: Sequence[Enhancement] = ()) -> str:
    """A line about a coded picture: quality and bytes, with each layer that continues it; or about
    a clip."""
    if not isinstance(stream, Bitstream):
        return f"{picture}: {stream.describe()}"
    sizes = _sizes(stream, later)
    qualities = [stream.quality, *(layer.quality for layer in later)]
    return (
        f"{picture}: {stream.width}x{stream.height} at quality "
        f"{', '.join(f'{quality:g}' for quality in qualities)} in "
        f"{', '.join(map(str, sizes))} bytes, {_bpp(stream, sizes[-1]):.3f} bpp"
    )


def record_of(stream: Bitstream | CodedClip, later: Sequence[Enhancement] = ()) -> dict[str, Any]:
    """A coded picture or clip for `--json`."""
    if not isinstance(stream, Bitstream):
        return stream.as_dict()
    sizes = _sizes(stream, later)
    qualities = [stream.quality, *(layer.quality for layer in later)]
    record = {
        "width": stream.width,
        "height": stream.height,
        "quality": qualities[-1],
        "bytes": sizes[-1],
        "bpp": round(_bpp(stream, sizes[-1]), 5),
        "codec": stream.codec_id.hex(),
    }
    if later:
        pairs = zip(qualities, sizes, strict=True)
        record["layers"] = [{"quality": quality, "bytes": size} for quality, size in pairs]
    return record


def _sizes(stream: Bitstream, later: Sequence[Enhancement]) -> list[int]:
    """Bytes up to the end of each layer."""
    layers = [stream.to_bytes(), *(layer.to_bytes() for layer in later)]
    return list(itertools.accumulate(map(len, layers)))


def _bpp(stream: Bitstream, size: int) -> float:
    return 8 * size / (stream.width * stream.height)
