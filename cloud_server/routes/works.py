"""From the pictures of a request to the work about them."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_server.inference.work import Work
from cloud_server.service import Service
from shared.bitstream import Bitstream
from shared.errors import StreamTooLarge
from shared.schemas import ImageInfo


def work_on(
    service: Service, caller: str, pictures: Sequence[bytes | str]
) -> tuple[Work, list[ImageInfo]]:
    """A work on streams, or on the kept pictures of those ids, and what the pictures are.

    Raises a StreamError, BundleUnknown, or NotFound where the caller has kept none.
    """
    works, images = zip(*(_of_one(service, caller, one) for one in pictures), strict=True)
    pixels = sum(image.width * image.height for image in images)
    if len(images) > 1 and pixels > service.limits.pixels:
        raise StreamTooLarge(
            f"the {len(images)} pictures have {pixels} pixels together, over the limit of "
            f"{service.limits.pixels}",
            hint="send smaller pictures, or fewer",
        )
    work, *others = works
    work.others = tuple(others)
    return work, list(images)


def _of_one(service: Service, caller: str, picture: bytes | str) -> tuple[Work, ImageInfo]:
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
