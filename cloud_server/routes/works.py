"""From the picture of a request to the work about it."""

from __future__ import annotations

from cloud_server.inference.work import Work
from cloud_server.service import Service
from shared.bitstream import Bitstream
from shared.schemas import ImageInfo


def work_on(service: Service, caller: str, picture: bytes | str) -> tuple[Work, ImageInfo]:
    """A work on a stream, or on the kept picture of that id, and what the picture is.

    Raises a StreamError, BundleUnknown, or NotFound where the caller has kept none.
    """
    if isinstance(picture, str):
        kept = service.images.get(caller, picture)
        return Work(None, visual=kept.visual), kept.image
    stream = service.parse(picture)
    image = image_info(stream, len(picture))
    service.metrics.received(image)
    return Work(stream), image


def image_info(stream: Bitstream, size: int) -> ImageInfo:
    """What a stream of `size` bytes is."""
    return ImageInfo(
        width=stream.width,
        height=stream.height,
        bytes=size,
        bpp=round(8 * size / (stream.width * stream.height), 6),
        codec=stream.codec_id.hex(),
    )
