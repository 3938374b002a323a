"""/livez, /readyz, /metrics, and what GET /v1/models names."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from cloud_server.routes.admission import Caller
from cloud_server.routes.documented import KEY, Responses, answer, problems
from cloud_server.routes.examples import HEALTH, MODEL, MODELS
from cloud_server.service import Service
from shared.errors import NotFound, NotReady
from shared.schemas import Health, ModelInfo, ModelList

probes = APIRouter()
models = APIRouter()

_HEALTH: Final[Responses] = {200: answer(HEALTH), **problems(NotReady)}


@probes.get("/livez", response_model=Health, responses=_HEALTH)
async def livez(request: Request) -> Health:
    """The process works; 503 where only a new one can help."""
    service: Service = request.app.state.service
    service.check_alive()
    return Health(status=service.status)


@probes.get("/readyz", response_model=Health, responses=_HEALTH)
async def readyz(request: Request) -> Health:
    """The model has answered about a decoded picture, and the server is not draining."""
    service: Service = request.app.state.service
    service.check_alive()
    if service.status != "ok":
        raise NotReady(f"the server is {service.status}", hint="ask again in a second")
    return Health(status="ok")


@models.get("/metrics", response_class=Response, responses=problems(*KEY))
async def metrics(request: Request, caller: Caller) -> Response:
    """Metrics in Prometheus' text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@models.get(
    "/v1/models",
    response_model=ModelList,
    responses={200: answer(MODELS), **problems(*KEY, NotReady)},
)
async def list_models(request: Request, caller: Caller) -> ModelList:
    """The model that answers, and what a device should code for it with."""
    service: Service = request.app.state.service
    return ModelList(data=[service.model()])


@models.get(
    "/v1/models/{model_id:path}",
    response_model=ModelInfo,
    responses={200: answer(MODEL), **problems(*KEY, NotReady, NotFound)},
)
async def retrieve_model(request: Request, model_id: str, caller: Caller) -> ModelInfo:
    """One of them by its id."""
    service: Service = request.app.state.service
    return service.require_model(model_id)
