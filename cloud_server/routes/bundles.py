"""GET /v1/bundles/{id}: the edge part of a bundle, for devices that have none or another."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from cloud_server.routes.admission import Caller
from cloud_server.routes.documented import KEY, problems
from cloud_server.service import Service
from shared.bundle import MANIFEST, Bundle, manifest_id
from shared.errors import BundleCorrupt, NotFound

router = APIRouter(prefix="/v1/bundles")

# A bundle is named by its hash, so what is under that name never changes.
_FOREVER: Final = "private, max-age=31536000, immutable"


_ERRORS: Final = problems(*KEY, NotFound, BundleCorrupt)


@router.get("/{bundle_id}", responses={200: {"content": {"application/json": {}}}, **_ERRORS})
async def manifest(request: Request, bundle_id: str, caller: Caller) -> Response:
    """The bytes of the manifest, whose SHA-256 begins with the id."""
    bundle = _find(request, bundle_id)
    raw = (bundle.root / MANIFEST).read_bytes()
    if manifest_id(raw) != bundle.id:
        raise BundleCorrupt(
            f"the manifest of {bundle_id} has changed on disk", hint="restart the server"
        )
    return Response(raw, media_type="application/json", headers={"cache-control": _FOREVER})


@router.get(
    "/{bundle_id}/files/{name:path}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}, **_ERRORS},
)
async def edge_file(request: Request, bundle_id: str, name: str, caller: Caller) -> Response:
    """A file of the edge part, by its name in the manifest."""
    bundle = _find(request, bundle_id)
    # Only names that the manifest lists are ever joined to a path.
    if name not in bundle.files("edge"):
        raise NotFound(f"the bundle {bundle_id} has no file {name[:64]!r} for the edge")
    return FileResponse(
        bundle.path(name),
        media_type="application/octet-stream",
        headers={
            "cache-control": _FOREVER,
            "etag": f'"{bundle.manifest.files[name].sha256}"',
        },
    )


def _find(request: Request, bundle_id: str) -> Bundle:
    service: Service = request.app.state.service
    for bundle in service.bundles:
        if bundle.hex_id == bundle_id:
            return bundle
    ids = ", ".join(service.bundle_ids())
    raise NotFound(f"there is no bundle {bundle_id[:64]!r}", hint=f"there is: {ids}")
