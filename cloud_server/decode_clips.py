"""`cloud_server decode` of clips: a folder of frames, or one clip that players show."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from cloud_server.decode_files import PIPE
from cloud_server.decoding import DEFAULT_SUFFIX, picture_file
from shared.errors import UsageError
from shared.frames import MAGIC, SUFFIX

CONTAINERS: Final = (".mkv", ".mov", ".mp4")
"""Suffixes of clips that are written, as H.264 by PyAV."""
_TICKS: Final = 1000

Frames = Iterator[tuple[float, Image.Image]]
DecodeClip = Callable[[bytes | str], Frames]


def is_clip(stream: str) -> bool:
    """Whether a file holds a clip, by its first bytes; by its name where it cannot be read."""
    if stream == PIPE:
        return False
    try:
        with Path(stream).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return stream.endswith(SUFFIX)


def decode_clip_file(
    stream: str,
    target: str | None,
    alone: bool,
    force: bool,
    decode: DecodeClip,
    say: Callable[[str], None],
) -> None:
    """Write the frames of a clip into a folder, or as a clip where the target names one.

    target: None for a folder beside the stream. alone: it is the only stream, and the target its
    own; else there is a folder for each in it. Raises UsageError where something is there that
    `force` does not write over, and what `decode` raises; nothing half-written stays.
    """
    path = Path(stream)
    if target is None:
        place = path.with_name(f"{path.stem}.decoded")
    else:
        place = Path(target) if alone else Path(target) / path.stem
    if place.exists() and not force:
        raise UsageError(f"{place} exists", hint="--force writes over it")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as folder:
            beside = Path(folder) / place.name
            write = _write_container if place.suffix.lower() in CONTAINERS else _write_folder
            count = write(beside, decode(stream))
            if place.is_dir():
                shutil.rmtree(place)
            beside.replace(place)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}") from error
    say(f"{place}: {count} frames")


def _write_folder(folder: Path, frames: Frames) -> int:
    folder.mkdir()
    count = 0
    for _, image in frames:
        (folder / f"{count:06d}{DEFAULT_SUFFIX}").write_bytes(picture_file(image, DEFAULT_SUFFIX))
        count += 1
    return count


def _write_container(path: Path, frames: Frames) -> int:
    av = _import_av()
    count = 0
    with av.open(str(path), "w") as container:
        stream: Any = None
        for time, image in frames:
            # H.264 halves its colours: sides are even.
            pixels = np.asarray(image)
            pixels = np.pad(
                pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), "edge"
            )
            if stream is None:
                stream = container.add_stream("libx264", rate=30, options={"crf": "12"})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def _import_av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise UsageError(
            "one clip is written by PyAV, which is not installed",
            hint="pip install '.[video]' in a checkout, or name a folder for the frames",
        ) from error
    return av
