"""POST /playground/pictures: what becomes of a picture on its way to the model.

PNG --edge process--> stream --inference thread--> decoded picture, level map --> JSON, with JPEGs
"""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from cloud_server.guard.bodies import read_body
from cloud_server.inference.work import Work
from cloud_server.playground.edge import EdgeProcess
from cloud_server.playground.pictures import (
    Picture,
    jpeg_as_good,
    jpeg_as_small,
    pixels,
    png,
    psnr,
    read_png,
)
from cloud_server.routes import results
from cloud_server.routes.admission import Admitted, Ticket
from cloud_server.routes.documented import LAYERS, WORK, problems
from cloud_server.routes.works import work_on_picture
from cloud_server.service import Service
from shared.bitstream import MEDIA_TYPE, Bitstream
from shared.errors import FieldInvalid, RequestError
from shared.layers.cells import Cells
from shared.layers.enhancement import read_layers
from shared.level_map import LevelMap
from shared.schemas import ImageInfo

router = APIRouter(prefix="/playground")

PNG: Final = "image/png"
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            PNG: {"schema": {"type": "string", "format": "binary"}},
            MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

_PICTURE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {PNG: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Levels(BaseModel):
    """The level map: rows of 0 (fewest bits) to `most`, each for a square of `cell` pixels."""

    cell: int
    most: int
    rows: list[list[int]]


class Jpeg(BaseModel):
    """A JPEG of the same picture; `file` is base64."""

    bytes: int
    psnr: float
    file: str


class Shown(BaseModel):
    """What became of a picture. psnr in dB; a stream that was sent as such has none, nor JPEGs."""

    stream: str
    image: ImageInfo
    quality: float
    levels: Levels | None
    decoded: str
    psnr: float | None = None
    jpeg_as_good: Jpeg | None = None
    jpeg_as_small: Jpeg | None = None


class Finer(BaseModel):
    """What an enhancement made of a picture: `cells` are rows of those that became finer.

    `enhancement` and `decoded`, the finer picture, are base64.
    """

    enhancement: str
    bytes: int
    cells: list[list[bool]]
    decoded: str


@router.post(
    "/pictures",
    response_model=Shown,
    openapi_extra=_BODY,
    responses=problems(*WORK),
)
async def show(
    request: Request,
    ticket: Admitted,
    quality: Annotated[float, Query(ge=0, le=9)] = 3.0,
    guidance: bool = True,
) -> Shown:
    """What the model is going to see of a picture, and what JPEG would cost.

    The body is a PNG no larger than the bundle's resolution, or a stream of `edge_client encode`.
    `stream`, `decoded` and `file` of the answer are base64; ask about `stream` with POST /v1/query.
    """
    service: Service = request.app.state.service
    settings = service.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    picture = None
    if kind == PNG:
        side = service.bundles[0].manifest.resolution
        picture = await asyncio.to_thread(read_png, body, side)
        edge: EdgeProcess = request.app.state.edge
        body = await edge.encode(png(picture), quality, guidance, _left(ticket))
    elif kind != MEDIA_TYPE:
        raise RequestError(f"the body is {kind[:64]!r}", hint=f"send {PNG} or {MEDIA_TYPE}")
    work, image = await work_on_picture(service, ticket, body)
    work.keeps_decoded = True
    await results.finish(service, request, ticket, work)
    return await asyncio.to_thread(_shown, work, image, body, picture)


@router.post(
    "/enhancements",
    response_model=Finer,
    openapi_extra=_PICTURE_BODY,
    responses=problems(*WORK, *LAYERS),
)
async def enhance(
    request: Request,
    ticket: Admitted,
    cells: str,
    quality: Annotated[float, Query(ge=0, le=9)],
    first: Annotated[float, Query(ge=0, le=9)] = 0.0,
    guidance: bool = True,
) -> Finer:
    """What a device would send that is asked for more of its picture.

    The body is the PNG that POST /playground/pictures got, `first` and `guidance` as there. `cells`
    and `quality` are those of `need`; send `enhancement` to POST /v1/query/{handle}/enhancement.
    """
    service: Service = request.app.state.service
    settings = service.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    picture = await asyncio.to_thread(read_png, body, service.bundles[0].manifest.resolution)
    height, width = picture.shape[:2]
    try:
        wanted = Cells.decode(base64.b64decode(cells, validate=True), width, height)
    except ValueError as error:
        raise FieldInvalid("cells are no base64") from error
    edge: EdgeProcess = request.app.state.edge
    options = first, cells, quality, guidance
    layers = await edge.enhance(png(picture), *options, _left(ticket))
    stream, enhancements = read_layers(layers, service.limits)
    work = Work(stream, enhancements=enhancements, keeps_decoded=True)
    await results.finish(service, request, ticket, work)
    assert work.decoded is not None
    decoded = work.decoded
    enhancement = enhancements[0].to_bytes()
    return Finer(
        enhancement=_text(enhancement),
        bytes=len(enhancement),
        cells=wanted.mask(width, height).tolist(),
        decoded=await asyncio.to_thread(lambda: _text(png(decoded.picture))),
    )


def _left(ticket: Ticket) -> float:
    return max(0.1, ticket.deadline - asyncio.get_running_loop().time())


def _shown(work: Work, image: ImageInfo, stream: bytes, picture: Picture | None) -> Shown:
    assert isinstance(work.stream, Bitstream)
    assert work.decoded is not None
    decoded = work.decoded.picture
    shown = Shown(
        stream=_text(stream),
        image=image,
        quality=work.stream.quality_code / 20,
        levels=_levels(work.decoded.level_map),
        decoded=_text(png(decoded)),
    )
    if picture is not None:
        level = psnr(decoded, picture)
        shown.psnr = round(level, 2)
        shown.jpeg_as_good = _compared(jpeg_as_good(picture, level), picture)
        shown.jpeg_as_small = _compared(jpeg_as_small(picture, len(stream)), picture)
    return shown


def _levels(level_map: LevelMap | None) -> Levels | None:
    if level_map is None:
        return None
    return Levels(cell=level_map.cell, most=level_map.levels - 1, rows=level_map.values.tolist())


def _compared(file: bytes | None, picture: Picture) -> Jpeg | None:
    if file is None:
        return None
    level = round(psnr(pixels(file), picture), 2)
    return Jpeg(bytes=len(file), psnr=level, file=_text(file))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
