"""The FastAPI application.

request -> id -> route -> body, limits -> Bitstream -> queue -> inference thread -> answer
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI

from cloud_server.guard import cross_origin, problems
from cloud_server.guard.http_head import bounded
from cloud_server.guard.request_id import RequestIds
from cloud_server.observe.tracing import Traces
from cloud_server.playground import pages, routes
from cloud_server.playground.edge import EdgeProcess
from cloud_server.routes import asking, chat, query
from cloud_server.routes import bundles as bundle_files
from cloud_server.routes.admission import Caller
from cloud_server.routes.openapi import document
from cloud_server.routes.probes import models, probes
from cloud_server.service import Service
from cloud_server.settings import Settings, load_settings


def create_app(settings: Settings | None = None, service: Service | None = None) -> FastAPI:
    """The service of `settings`, by default those of the environment, or a `service` in its place.

    Raises UsageError for bad settings, BundleError for bad bundles; the language model is loaded
    after start-up, and `app.state.service` tells how far that is.
    """
    service = service or Service(settings or load_settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="CoTAM",
        description="Questions about pictures that travel as CoTAM bitstreams.",
        version="1",
        lifespan=lifespan,
        dependencies=[Depends(bounded)],
        redirect_slashes=False,
        openapi_url=None,
    )
    app.state.service = service
    if service.tracing is not None:
        app.add_middleware(Traces, tracing=service.tracing)
    app.add_middleware(
        RequestIds, unexpected=problems.unexpected, answered=service.metrics.answered
    )
    cross_origin.allow(app, service.settings.cors_origins)
    problems.install(app)
    for part in (probes, models, query.router, asking.router, chat.router, bundle_files.router):
        app.include_router(part)
    if service.settings.playground:
        app.state.edge = EdgeProcess(service.bundles[0], service.processes)
        app.include_router(routes.router)
        app.include_router(pages.pages())

    @app.get("/openapi.json", include_in_schema=False)
    async def describe(caller: Caller) -> dict[str, Any]:
        return document(app)

    return app
