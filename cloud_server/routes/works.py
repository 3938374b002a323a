"""From the pictures of a request to the work about them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cloud_server.guard.plain_picture import kind_of, read_plain
from cloud_server.inference.work import Work
from cloud_server.routes.admission import Ticket
from cloud_server.service import Service
from shared.bitstream import Bitstream
from shared.errors import StreamTooLarge
from shared.schemas import ImageInfo


async def work_on(
    service: Service, ticket: Ticket, pictures: Sequence[bytes | str]
) -> tuple[Work, list[ImageInfo]]:
    """A work on streams, or on the kept pictures of those ids, and what the pictures are.

    Where the settings allow it, files of ordinary pictures are taken as well. Raises a StreamError,
    BundleUnknown, PictureError, or NotFound where the caller has kept none.
    """
    works, images = zip(*[await _of_one(service, ticket, one) for one in pictures], strict=True)
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


async def _of_one(service: Service, ticket: Ticket, picture: bytes | str) -> tuple[Work, ImageInfo]:
    if isinstance(picture, str):
        kept = service.images.get(ticket.caller, picture)
        return Work(None, visual=kept.visual), kept.image
    if service.settings.plain_pictures and kind_of(picture):
        left = max(0.0, ticket.deadline - asyncio.get_running_loop().time())
        plain = await read_plain(service.processes, picture, service.limits.pixels, left)
        height, width = plain.pixels.shape[:2]
        return Work(None, original=plain.pixels), _info(width, height, len(picture), plain.kind)
    stream = service.parse(picture)
    image = image_info(stream, len(picture))
    service.metrics.received(image)
    return Work(stream), image


def image_info(stream: Bitstream, size: int) -> ImageInfo:
    """What a stream of `size` bytes is."""
    return _info(stream.width, stream.height, size, stream.codec_id.hex())


def _info(width: int, height: int, size: int, codec: str) -> ImageInfo:
    return ImageInfo(
        width=width,
        height=height,
        bytes=size,
        bpp=round(8 * size / (width * height), 6),
        codec=codec,
    )
