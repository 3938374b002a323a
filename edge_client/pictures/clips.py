"""Clips as frames u8 [H, W, 3], upright, each with its time: files, cameras, folders of pictures.

Files and cameras are read by PyAV (extra `video`), frame by frame and scaled as they come, so what
is held does not grow with the clip. Where frames lie far apart the reader seeks, so that eight
frames of ten hours take as long as eight of a minute.
"""

from __future__ import annotations

import errno
import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_client.pictures.images import MAX_PIXELS, Picture, fit, fitted, load
from edge_client.pictures.inputs import pictures_in
from shared.errors import CotamError, PictureTooLarge, PictureUnreadable, UsageError

MOST_FRAMES: Final = 100_000
CAMERA_RATE: Final = 2.0  # frames a second of a camera, where nothing else is said
SEEK: Final = 5.0  # seconds to the next frame that is wanted, from which on the reader seeks
LATE: Final = 0.2
"""Share of a clip that its last frame may be early without a word: rates vary."""
FORMATS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,obu,ivf,gif,webp_pipe"
)
"""Containers by FFmpeg's names. Playlists are none of them: these would fetch what they name."""


logger = logging.getLogger("edge_client")


@dataclass(frozen=True)
class Shot:
    """A frame and its time, seconds since the first."""

    picture: Picture
    time: float


@dataclass(frozen=True)
class Pick:
    """Which frames: `count` of them, evenly from first to last; or `rate` a second; or all."""

    count: int | None = 8
    rate: float | None = None

    def times(self, length: float, rate: float, name: str) -> Iterator[float]:
        """Seconds at which frames are wanted, of a clip of some length and frames a second.

        Raises UsageError where they are too many.
        """
        if self.count is not None:
            steps = max(self.count - 1, 1)
            return (length * n / steps for n in range(self.count))
        wanted = min(self.rate or rate, rate)
        count = int(length * wanted) + 1
        if count > MOST_FRAMES:
            raise UsageError(
                f"{name} lasts {length:.0f} s: at {wanted:g} frames a second that is {count} "
                f"frames, over the limit of {MOST_FRAMES}",
                hint="--frames 8 spreads eight of them, --frames 1fps takes one a second",
            )
        return (n / wanted for n in range(count))


ALL: Final = Pick(None, None)


def shots(source: str, pick: Pick, longest: int | None) -> Iterator[Shot]:
    """The frames that are wanted of a file, a camera's device or a folder, in their order.

    longest: long side in pixels to which they are scaled down. Each time is later than the one
    before. Raises PictureError, or UsageError where PyAV is missing or nothing is there.
    """
    path = Path(source)
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} cannot be read: {error}") from error
    if stat.S_ISDIR(kind):
        frames = _of_folder(path, pick, longest)
    elif stat.S_ISCHR(kind):
        frames = _of_camera(source, pick, longest)
    else:
        frames = _of_file(path, pick, longest)
    return _of_one_size(frames, source)


def _of_one_size(frames: Iterator[Shot], name: str) -> Iterator[Shot]:
    first: tuple[int, ...] | None = None
    for shot in frames:
        first = first or shot.picture.shape[:2]
        if shot.picture.shape[:2] != first:
            size, first_size = (
                f"{width}x{height}" for height, width in (shot.picture.shape[:2], first)
            )
            raise PictureUnreadable(
                f"{name}: the frame at {shot.time:.1f} s has another size, {size}, than those "
                f"before it, {first_size}",
                hint="frames of one clip have one size: cut or scale it first",
            )
        yield shot


def _of_folder(folder: Path, pick: Pick, longest: int | None) -> Iterator[Shot]:
    """Pictures by their names, a second apart."""
    paths = pictures_in(folder)
    if not paths:
        raise UsageError(f"there is no picture in {folder}")
    last = -1
    for time in pick.times(len(paths) - 1.0, 1.0, str(folder)):
        number = round(time)
        if number == last:
            continue
        last = number
        picture = load(paths[number], longest=longest)
        picture = picture if longest is None else fit(picture, longest, longest)
        yield Shot(picture, float(number))


def _of_file(path: Path, pick: Pick, longest: int | None) -> Iterator[Shot]:
    with path.open("rb") as file, _reading(f"{path} cannot be decoded as a clip") as av:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        with av.open(file, container_options=options) as container:
            stream = _video(container, str(path))
            start = float((stream.start_time or 0) * stream.time_base)
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            length = _length(container, stream, start)
            last: Shot | None = None
            yielded = -1.0
            frames = _decoded(container, stream, start)
            if pick == ALL:
                pick.times(length, rate, str(path))
                for time, frame in frames:
                    if time > yielded:
                        yielded = time
                        last = Shot(_pixels(frame, stream, longest), time)
                        yield last
            for wanted in (
                () if pick == ALL else pick.times(max(length - 1 / rate, 0.0), rate, str(path))
            ):
                if last is None or wanted - last.time > SEEK:
                    container.seek(int((start + wanted) / stream.time_base), stream=stream)
                    frames = _decoded(container, stream, start)
                if last is None or last.time < wanted - 0.5 / rate:
                    last = _next(frames, wanted - 0.5 / rate, stream, longest, str(path)) or last
                if last is not None and last.time > yielded:
                    yielded = last.time
                    yield last
            if last is None:
                raise PictureUnreadable(f"{path} has no frame that can be decoded")
            end = length - 1 / rate if pick.count != 1 else 0.0
            if end - last.time > max(LATE * length, 2 / rate):
                logger.warning(
                    "%s: the last frame that can be decoded is that at %.1f s of %.1f s",
                    path,
                    last.time,
                    length,
                )


def _of_camera(device: str, pick: Pick, longest: int | None) -> Iterator[Shot]:
    """Frames as they come, for as long as they are taken: `count` of them, or without end."""
    failure = f"{device} cannot be read as a camera"
    with _reading(failure) as av, av.open(device, format="v4l2") as container:
        stream = _video(container, device)
        apart = 1 / (pick.rate or CAMERA_RATE)
        first: float | None = None
        taken = 0
        for frame in container.decode(stream):
            time = float(frame.time or 0.0)
            first = time if first is None else first
            if time - first >= taken * apart:
                yield Shot(_pixels(frame, stream, longest), time - first)
                taken += 1
                if pick.count is not None and taken == pick.count:
                    return


def _next(
    frames: Iterator[Any], least: float, stream: Any, longest: int | None, name: str
) -> Shot | None:
    """The first frame from a time on, the last there is where none is so late."""
    picked = time = None
    for time, frame in frames:
        picked = frame
        if time >= least:
            break
    if picked is None or time is None:
        return None
    return Shot(_pixels(picked, stream, longest), max(time, 0.0))


def _decoded(container: Any, stream: Any, start: float) -> Iterator[tuple[float, Any]]:
    """Times since the start and frames; a frame without a time comes right behind the last."""
    time = 0.0
    for frame in container.decode(stream):
        time = time + 1e-3 if frame.time is None else float(frame.time) - start
        yield time, frame


def _pixels(frame: Any, stream: Any, longest: int | None) -> Picture:
    """A frame upright, with square pixels, at most `longest` a side."""
    shape = float(stream.sample_aspect_ratio or 1)
    width, height = max(1, round(frame.width * shape)), frame.height
    if longest is not None and max(width, height) > longest:
        width, height = fitted(width, height, longest)
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))


def _video(container: Any, name: str) -> Any:
    """The first stream of pictures. Raises PictureUnreadable, PictureTooLarge."""
    if not container.streams.video:
        raise PictureUnreadable(f"{name} has no video stream")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(
            f"{name} has frames of {width}x{height}, over the limit of {MAX_PIXELS} pixels",
            hint="scale it down first",
        )
    return stream


def _length(container: Any, stream: Any, start: float) -> float:
    """Seconds of a clip; where its head does not say, its packets are looked at."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration) / 1e6
    ends = [
        float((packet.pts + (packet.duration or 0)) * stream.time_base)
        for packet in container.demux(stream)
        if packet.pts is not None
    ]
    return max(ends, default=start) - start


@contextmanager
def _reading(failure: str) -> Iterator[Any]:
    """PyAV, and its errors as ours; failure: what could not be done, with the name."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise UsageError(
            "clips need PyAV, which is not installed",
            hint="pip install '.[video]' in a checkout, or name a folder of frames",
        ) from error
    try:
        yield av
    except (CotamError, GeneratorExit):
        raise
    except Exception as error:  # readers of broken files know a dozen ways to fail
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.ENOTTY:
            reason = "it is another kind of device"
        raise PictureUnreadable(f"{failure}: {reason}") from error
