"""/livez, /readyz, /metrics and GET /v1/models."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from cloud_server.routes.admission import Caller
from cloud_server.service import Service
from shared.errors import NotReady
from shared.schemas import Health, ModelList

probes = APIRouter()
models = APIRouter()


@probes.get("/livez", response_model=Health)
async def livez(request: Request) -> Health:
    """The process works; 503 where only a new one can help."""
    service: Service = request.app.state.service
    service.check_alive()
    return Health(status=service.status)


@probes.get("/readyz", response_model=Health)
async def readyz(request: Request) -> Health:
    """The model has answered about a decoded picture, and the server is not draining."""
    service: Service = request.app.state.service
    service.check_alive()
    if service.status != "ok":
        raise NotReady(f"the server is {service.status}", hint="ask again in a second")
    return Health(status="ok")


@models.get("/metrics", response_class=Response)
async def metrics(request: Request, caller: Caller) -> Response:
    """Metrics in Prometheus' text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@models.get("/v1/models", response_model=ModelList)
async def list_models(request: Request, caller: Caller) -> ModelList:
    """The model that answers, and what a device should code for it with."""
    service: Service = request.app.state.service
    return ModelList(data=[service.model()])
