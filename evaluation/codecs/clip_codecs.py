"""Ways to send the frames of a clip: ours, each frame as a picture, and the codecs of video.

frames --encode--> bytes --decode--> frames, as the cloud's backend takes them
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud_server.inference.clip import Clip, ClipFrame
from cloud_server.inference.decoder import Decoded
from edge_client.coding.clip_encoder import ClipEncoder
from evaluation.codecs.cotam import CotamCodec, bare
from evaluation.codecs.pillow_formats import AVIF, JPEG, PillowFormat
from shared.frames import Header, Writer

EVERY: Final = 1000
"""Frames from one keyframe to the next: clips are shorter, for our codec and for others."""
RATE: Final = 2  # frames a second
TICKS: Final = 1000

Pictures = NDArray[np.uint8]
Received = tuple[int, list[Decoded]]
"""Bytes on the wire, and the frames that the model gets."""


@dataclass(frozen=True)
class Sender:
    """One way to send frames u8 [T, H, W, 3], at the settings of its ladder, fewest bytes first."""

    name: str
    ladder: tuple[float, ...]
    send: Callable[[Pictures, float], Received]


def senders(cotam: CotamCodec) -> list[Sender]:
    """All that are compared, ours first, each frame by itself second."""
    return [
        Sender("CoTAM clip", (0.0, 1.0, 2.0, 3.5, 5.0), partial(send_clip, cotam)),
        Sender("CoTAM, each frame", (0.0, 1.0, 2.0, 3.5, 5.0), partial(_send_each, cotam)),
        Sender("JPEG, each frame", (2, 8, 18, 45), partial(_send_pictures, JPEG)),
        Sender("AVIF, each frame", (1, 8, 27), partial(_send_pictures, AVIF)),
        Sender("H.264", (51, 47, 43, 38), partial(_send_video, "h264")),
        Sender("HEVC", (51, 47, 43, 38), partial(_send_video, "hevc")),
        Sender("AV1", (63, 59, 55, 48), partial(_send_video, "av1")),
    ]


def encode_clip(
    cotam: CotamCodec, frames: Pictures, quality: float, guidance: bool = True
) -> Iterator[bytes]:
    """Head and frames of our clip, as they are sent, `RATE` a second."""
    height, width = frames.shape[1:3]
    header = Header(cotam.bundle.codec_id, width, height, EVERY, TICKS)
    clips, writer = ClipEncoder(cotam.encoder, header, guidance), Writer(header)
    yield writer.head
    for number, picture in enumerate(frames):
        analysed = clips.analyse(picture)
        coded = clips.code(analysed, clips.moved(analysed), round(20 * quality))
        clips.take(analysed, coded)
        yield writer.add(coded.body, number * TICKS // RATE)


def send_clip(
    cotam: CotamCodec, frames: Pictures, quality: float, guidance: bool = True
) -> Received:
    """Our clip, from one end to the other."""
    data = b"".join(encode_clip(cotam, frames, quality, guidance))
    clip = Clip(data)
    shown = [cotam.decoder.decode(ClipFrame(clip, n)) for n in range(len(clip.frames))]
    return len(data), shown


def _send_each(cotam: CotamCodec, frames: Pictures, quality: float) -> Received:
    sent = [cotam.send(cotam.analyse(picture, guidance=True), quality) for picture in frames]
    return sum(size for size, _ in sent), [decoded for _, decoded in sent]


def _send_pictures(form: PillowFormat, frames: Pictures, quality: float) -> Received:
    files = [form.encode(picture, int(quality)) for picture in frames]
    return sum(map(len, files)), [bare(form.decode(file)) for file in files]


@dataclass(frozen=True)
class _Video:
    """A codec of FFmpeg's: encoder, decoder, settings, and the units that say who encoded."""

    encoder: str
    decoder: str
    options: dict[str, str]
    notes: str = ""


_VIDEOS: Final = {
    "h264": _Video(
        "libx264", "h264", {"preset": "medium", "threads": "1"}, "filter_units=remove_types=6"
    ),
    "hevc": _Video(
        "libx265",
        "hevc",
        {"preset": "medium", "x265-params": "log-level=none:info=0:pools=none:frame-threads=1"},
        "filter_units=remove_types=39",
    ),
    "av1": _Video("libsvtav1", "libdav1d", {"preset": "6", "svtav1-params": "lp=1"}),
}


def _send_video(name: str, frames: Pictures, quality: float) -> Received:
    """A codec of video at a constant rate factor, as its elementary stream, without a container."""
    import av

    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    codec = _VIDEOS[name]
    height, width = frames.shape[1:3]
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.options = {**codec.options, "crf": str(int(quality))}
    packets = []
    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    if codec.notes:
        filters: Any = av.BitStreamFilterContext(codec.notes, codec.decoder)
        packets = [kept for packet in packets for kept in filters.filter(packet)]
    size = sum(packet.size for packet in packets)
    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    shown = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    return size, [bare(_rgb(frame)) for frame in sorted(shown, key=lambda frame: frame.pts)]


def _rgb(frame: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def psnr_of(frames: Pictures, shown: Sequence[Decoded]) -> float:
    """PSNR in dB over all frames together."""
    errors = [
        np.mean((picture.astype(np.float64) - decoded.picture) ** 2)
        for picture, decoded in zip(frames, shown, strict=True)
    ]
    return float(10 * np.log10(255**2 / max(float(np.mean(errors)), 1e-9)))
