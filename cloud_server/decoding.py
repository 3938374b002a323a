"""Streams become pictures without a server: one call from Python, and what `decode` writes.

stream --Decoder of its codec--> picture u8 [H, W, 3] --> Pillow image --> file
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from cloud_server.inference.clip import Clip, ClipFrame
from cloud_server.inference.decoder import Decoded, Decoder, device_of
from shared.bitstream import Limits
from shared.bundle import Bundle, embedded_bundles, find
from shared.errors import BundleUnknown, UsageError
from shared.layers.enhancement import Enhancement, read_layers
from shared.remote.places import WHOLE, open_place

FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Suffixes of the pictures that are written. JPEG alone loses something."""
DEFAULT_SUFFIX: Final = ".png"
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "PNG": {},
    "JPEG": {"quality": 95},
    "WEBP": {"lossless": True},
}


def decode(
    stream: bytes | str | Path,
    *,
    bundles: Sequence[str | Path] = (),
    device: str = "cpu",
    limits: Limits | None = None,
) -> Image.Image:
    """The picture of a stream, as an RGB image; as its last layer has it where it has layers.

    stream: the bytes of one, or the path of its file. bundles: embedded names, folders, URLs
    or hf:ORG/NAME, one of which decodes the stream; all embedded ones where none is named. device:
    "cpu", "cuda", "auto".
    Raises UsageError for a file that cannot be read, the StreamError that fits, BundleUnknown,
    BundleMissing and BundleCorrupt.
    """
    limits = limits or Limits()
    raw = stream if isinstance(stream, bytes) else read_stream(Path(stream), limits)
    parsed, enhancements = read_layers(raw, limits)
    decoder = _decoder(_find(bundles, parsed.codec_id).root, device)
    return Image.fromarray(decoder.decode(parsed, enhancements).picture)


def continued(decoded: Decoded, enhancement: bytes, decoder: Decoder) -> Decoded:
    """A decoded picture, finer by an enhancement of it.

    decoder: the one that made `decoded`, told to keep what is needed, or that continued it. Raises
    the StreamError that fits, EnhancementForeign among them.
    """
    if decoded.known is None:
        raise UsageError("what an enhancement continues was not kept", hint="decode with keep=True")
    parsed = Enhancement.from_bytes(enhancement)
    return decoder.restore([decoder.read_on(decoded.known, parsed)])[0]


def decode_clip(
    stream: bytes | str | Path,
    *,
    bundles: Sequence[str | Path] = (),
    device: str = "cpu",
    limits: Limits | None = None,
) -> Iterator[tuple[float, Image.Image]]:
    """Seconds and RGB image of each frame of a clip that can be read, one at a time.

    Arguments and errors are those of `decode`; what is lost of the clip is left out.
    """
    limits = limits or Limits()
    clip = Clip(stream if isinstance(stream, bytes) else read_stream(Path(stream), limits), limits)
    decoder = _decoder(_find(bundles, clip.codec_id).root, device)
    for index, frame in enumerate(clip.frames):
        decoded = decoder.restore([decoder.read(ClipFrame(clip, index))])[0]
        yield frame.time / clip.header.ticks, Image.fromarray(decoded.picture)


def picture_file(image: Image.Image, suffix: str) -> bytes:
    """The bytes of a picture file of that suffix, one of `FORMATS`."""
    kind = FORMATS[suffix]
    file = io.BytesIO()
    image.save(file, kind, **_OPTIONS[kind])
    return file.getvalue()


def _find(bundles: Sequence[str | Path], codec_id: bytes) -> Bundle:
    here = [open_place(place, WHOLE) for place in bundles] or embedded_bundles()
    try:
        return find(here, codec_id)
    except BundleUnknown as error:
        raise BundleUnknown(
            error.message, hint="name the folder of a bundle of that codec"
        ) from error


def read_stream(path: Path, limits: Limits) -> bytes:
    """The bytes of a stream's file. Raises UsageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            # One byte more than may be: the reader of streams then says that it is too large.
            return file.read(limits.stream_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=4)
def _decoder(bundle: Path, device: str) -> Decoder:
    return Decoder(Bundle.open(bundle), device_of(device))
