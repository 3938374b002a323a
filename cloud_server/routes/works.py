"""From the pictures of a request to the work about them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_server.guard.plain_picture import kind_of, read_plain
from cloud_server.inference.clip import ClipFrame
from cloud_server.inference.work import Work
from cloud_server.routes.admission import Ticket
from cloud_server.service import Service
from shared.bitstream import Bitstream
from shared.errors import FieldInvalid, StreamTooLarge
from shared.frames import MAGIC as CLIP_MAGIC
from shared.frames import Header
from shared.schemas import ImageInfo


@dataclass(frozen=True)
class Keeping:
    """What is kept of a camera from one clip to the next.

    continues: id of the frame that the clip goes on from, empty for none. keep: whether its last
    frame is kept.
    """

    continues: str = ""
    keep: bool = False


async def work_on(
    service: Service,
    ticket: Ticket,
    pictures: Sequence[bytes | str],
    keeping: Keeping | None = None,
) -> tuple[Work, list[ImageInfo]]:
    """A work on streams, or on the kept pictures of those ids, and what the pictures are.

    Where the settings allow it, files of ordinary pictures are taken as well. Raises a StreamError,
    BundleUnknown, PictureError, NotFound where the caller has kept none, or FieldInvalid where
    something but one clip is to be kept or continued.
    """
    keeping = keeping or Keeping()
    if keeping != Keeping() and not _is_one_clip(pictures):
        raise FieldInvalid(
            "keep and continues go with one clip", hint="send one, or leave them out"
        )
    looks = [
        look for picture in pictures for look in await _looks(service, ticket, picture, keeping)
    ]
    images = [image for _, image in looks]
    pixels = sum(image.width * image.height for image in images)
    if len(images) > 1 and pixels > service.limits.pixels:
        raise StreamTooLarge(
            f"the {len(images)} pictures have {pixels} pixels together, over the limit of "
            f"{service.limits.pixels}",
            hint="send smaller pictures, or fewer",
        )
    work, *others = (work for work, _ in looks)
    work.others = tuple(others)
    return work, images


async def _looks(
    service: Service, ticket: Ticket, picture: bytes | str, keeping: Keeping
) -> list[tuple[Work, ImageInfo]]:
    """Each picture that is shown for one of a request: all frames of a clip."""
    if isinstance(picture, str):
        await service.bring(ticket.caller, picture)
        seen = service.images.get(ticket.caller, picture)
        return [(Work(None, visual=seen.visual), seen.image)]
    if picture.startswith(CLIP_MAGIC):
        if keeping.continues:
            await service.bring(ticket.caller, keeping.continues)
        kept = service.images.frame(ticket.caller, keeping.continues)
        clip = service.parse_clip(picture, kept, keeping.keep)
        looks = []
        for index, frame in enumerate(clip.frames):
            image = image_info(clip.header, frame.size)
            service.metrics.received(image)
            looks.append((Work(ClipFrame(clip, index)), image))
        return looks
    return [await work_on_picture(service, ticket, picture)]


def _is_one_clip(pictures: Sequence[bytes | str]) -> bool:
    first = pictures[0]
    return len(pictures) == 1 and isinstance(first, bytes) and first.startswith(CLIP_MAGIC)


async def work_on_picture(
    service: Service, ticket: Ticket, picture: bytes
) -> tuple[Work, ImageInfo]:
    """A work on one picture, which is no clip, and what it is. Raises as `work_on`."""
    if service.settings.plain_pictures and kind_of(picture):
        left = max(0.0, ticket.deadline - asyncio.get_running_loop().time())
        plain = await read_plain(service.processes, picture, service.limits.pixels, left)
        height, width = plain.pixels.shape[:2]
        return Work(None, original=plain.pixels), _info(width, height, len(picture), plain.kind)
    stream = service.parse(picture)
    image = image_info(stream, len(picture))
    service.metrics.received(image)
    return Work(stream), image


def image_info(stream: Bitstream | Header, size: int) -> ImageInfo:
    """What a stream of `size` bytes is, or a frame of a clip with that head."""
    return _info(stream.width, stream.height, size, stream.codec_id.hex())


def _info(width: int, height: int, size: int, codec: str) -> ImageInfo:
    return ImageInfo(
        width=width,
        height=height,
        bytes=size,
        bpp=round(8 * size / (width * height), 6),
        codec=codec,
    )
