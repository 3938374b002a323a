"""The service as a Ray Serve application: every joint of it on as many machines as it needs.

    HTTP --proxy--> Ingress --Work--> Decoders --Work with its picture--> Models --answer--> Ingress

`Ingress` is the same FastAPI application as that of `cloud_server serve`; only its inference thread
is elsewhere. Pictures go from a decoder to a model without passing the ingress. A replica that
dies takes no request with it: the ingress asks another.

    python -m cloud_server.ray_app                 # a Ray of its own, or that of RAY_ADDRESS
    serve run cloud_server.ray_app:build           # the same through Ray's own command
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import ray
import torch
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from cloud_server.app import create_app
from cloud_server.inference.async_sink import AsyncSink
from cloud_server.inference.decoder import decoders_of, device_of
from cloud_server.inference.image_store import Item
from cloud_server.inference.mllm.base import AnswerSink, VisualInput
from cloud_server.inference.work import NOBODY, Work
from cloud_server.observe.logs import configure
from cloud_server.ray.dispatcher import ReplicaDispatcher
from cloud_server.ray.settings import RaySettings, load_ray_settings
from cloud_server.service import Service
from cloud_server.settings import Settings, load_settings
from shared.errors import CotamError, exit_code
from shared.remote.places import WHOLE, open_place
from shared.schemas import ModelInfo

APP: Final = "cotam"
ASKED_S: Final = 2.0
"""How long an ingress may take to say what it keeps."""
ENVIRONMENT: Final = {
    # Ray tells its makers about its use unless told not to.
    "RAY_USAGE_STATS_ENABLED": "0",
    # On busy cores its proxy takes longer to start, and replicas to answer, than it waits for.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "1",
    "RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "5",
    # A process for each core before anything is asked of them is more than one machine needs.
    "RAY_prestart_worker_first_driver": "0",
    # Workers are at the lowest priority by default; here they are the service.
    "RAY_worker_niceness": "0",
    # See shared.libraries.wait_passively, which is too late for workers.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Of a Ray that is started here, where the environment does not say otherwise."""

log = logging.getLogger(__name__)


@serve.ingress()
class Ingress:
    """The HTTP interface."""

    def __init__(self, decoders: DeploymentHandle, models: DeploymentHandle) -> None:
        settings = load_settings()
        configure(settings)
        self._service = Service(settings, ReplicaDispatcher(decoders, models), _others_keep)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(service=self._service)

    async def take(self, caller: str, name: str) -> tuple[Item, float] | None:
        """Give up a picture or question to another ingress, which was asked about it."""
        return self._service.images.take(caller, name)

    async def wait(self) -> None:
        """Answers when the replicas behind this one have answered."""
        await asyncio.to_thread(self._service.wait)

    async def drain(self) -> None:
        """Answer what is inside, and refuse the rest with 503."""
        service, settings = self._service, self._service.settings
        service.draining = True
        await asyncio.sleep(settings.drain_delay_s)
        service.closed = True
        end = time.monotonic() + settings.drain_s
        while service.admission.inside and time.monotonic() < end:
            await asyncio.sleep(0.05)


async def _others_keep(caller: str, name: str) -> tuple[Item, float] | None:
    """What any ingress keeps under a name. One that does not answer in time keeps nothing."""
    here = serve.get_replica_context()
    ingress = serve.get_deployment_handle(here.deployment, here.app_name)
    try:
        given = await ingress.broadcast("take", caller, name).results_async(
            timeout_s=ASKED_S, return_exceptions=True
        )
    except (RayError, RayServeException, TimeoutError) as error:
        log.warning("the other ingresses do not answer: %s", error)
        return None
    return next((item for item in given if isinstance(item, tuple)), None)


class Decoders:
    """Streams to pictures, one at a time: memory is bounded by the largest that is taken."""

    def __init__(self) -> None:
        settings = load_settings()
        configure(settings)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        device = device_of(settings.device)
        bundles = [open_place(place, WHOLE) for place in settings.bundle]
        self._decoders = decoders_of(bundles, device, settings.synthesis)
        self._lock = threading.Lock()

    def ready(self) -> bool:
        """Answers when the decoders are loaded."""
        return True

    def decode(self, work: Work) -> Work:
        """`work` with its pictures, or with what is wrong with one of its streams."""
        for look in (work, *work.others):
            if look.visual is None and look.original is None:
                self._decode(look)
            if look.error is not None:
                work.finish(look.error)
                break
        work.keep_frame()
        return work

    def _decode(self, work: Work) -> None:
        assert work.stream is not None
        with self._lock:
            start = time.perf_counter()
            try:
                decoded = self._decoders[work.stream.codec_id].decode(
                    work.stream, work.enhancements
                )
                work.decoded = replace(decoded, latent=decoded.latent.cpu())
            except CotamError as error:
                work.finish(error)
            work.times["decode"] = 1000 * (time.perf_counter() - start)


class Models:
    """The vision tower and the language model: a whole service, but for its HTTP."""

    def __init__(self) -> None:
        settings = load_settings()
        configure(settings)
        self._service = Service(settings)
        self._service.start()
        self._service.wait()
        if self._service.failure is not None:
            raise self._service.failure
        self._device = device_of(settings.device)

    def check_health(self) -> None:
        """Raises where only a new process can help; Ray then starts one."""
        self._service.check_alive()

    def describe(self) -> ModelInfo:
        """The model that answers."""
        return self._service.model()

    async def answer(self, work: Work, streams: bool) -> AsyncIterator[str | Work]:
        """Pieces of the answer where they are wanted, then `work` with the whole of it."""
        if work.error is not None:
            yield work
            return
        sink = AsyncSink(streams)
        here = _arrived(work, self._device, sink)
        try:
            self._service.submit(here)
            async for piece in sink.pieces():
                yield piece
            yield _departing(here)
        finally:
            sink.stop()


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application, for Ray's commands and manifests: `cloud_server.ray_app:build`.

    arguments: fields of `RaySettings`, before those of the environment. Raises UsageError.
    """
    settings, replicas = load_settings(), load_ray_settings(arguments)
    decoders = serve.deployment(
        Decoders,
        max_ongoing_requests=2,  # one is decoded while the next travels
        autoscaling_config={
            "min_replicas": replicas.min_decoders,
            "max_replicas": max(replicas.min_decoders, replicas.max_decoders),
            "target_ongoing_requests": 1.5,
        },
        ray_actor_options={"num_cpus": 1, "num_gpus": replicas.decoder_gpus},
    )
    models = serve.deployment(
        Models,
        max_ongoing_requests=2 * settings.max_batch,  # a batch runs while the next gathers
        autoscaling_config={
            "min_replicas": replicas.min_models,
            "max_replicas": max(replicas.min_models, replicas.max_models),
            "target_ongoing_requests": 1.5 * settings.max_batch,
        },
        graceful_shutdown_timeout_s=settings.drain_s,
        ray_actor_options={"num_cpus": 1, "num_gpus": replicas.model_gpus},
    )
    ingress = serve.deployment(
        Ingress,
        num_replicas=replicas.ingress,
        # Far above its places: it refuses in its own words, with Retry-After, not Ray's proxy.
        max_ongoing_requests=8 * settings.max_requests,
        max_queued_requests=8 * settings.max_requests,
        graceful_shutdown_timeout_s=settings.drain_s,
        ray_actor_options={"num_cpus": 1},
    )
    return ingress.bind(decoders.bind(), models.bind())


def _arrived(work: Work, device: torch.device, sink: AnswerSink) -> Work:
    """A work as it is needed here: on this device, and in memory that is its own."""
    decoded, visual = work.decoded, work.visual
    if decoded is not None:
        decoded = replace(
            decoded,
            picture=decoded.picture.copy(),
            latent=decoded.latent.to(device),
            codes=decoded.codes.copy(),
        )
    if visual is not None:
        visual = _moved(visual, device)
    original = None if work.original is None else work.original.copy()
    others = tuple(_arrived(other, device, NOBODY) for other in work.others)
    return replace(
        work, decoded=decoded, visual=visual, original=original, others=others, sink=sink
    )


def _departing(work: Work) -> Work:
    """A work as it travels: what a picture became goes along only where it is to be kept."""
    assert work.visual is not None or work.error is not None
    visual, decoded = work.visual, work.decoded
    if visual is not None:
        kept = work.prompt is None or work.keeps_visual
        visual = _moved(visual, torch.device("cpu")) if kept else VisualInput(visual.view, None, 0)
    if decoded is not None:
        decoded = replace(decoded, latent=decoded.latent.cpu())
    return replace(work, stream=None, others=(), sink=NOBODY, visual=visual, decoded=decoded)


def _moved(visual: VisualInput, device: torch.device) -> VisualInput:
    content = visual.content
    return replace(visual, content=content.to(device) if isinstance(content, Tensor) else content)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted is answered before the end."""
    application = build({})
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _starting("Ray"):
        if "RAY_ADDRESS" in os.environ:
            ray.init()
        else:
            # Replicas are more than cores where one machine has to do everything.
            cpus = max(os.cpu_count() or 1, _processes(load_ray_settings({})))
            ray.init(include_dashboard=False, num_cpus=cpus)
    ended = threading.Event()
    _on_signals(lambda *_: sys.exit())  # after Ray has set its own
    try:
        logs = {"encoding": "JSON", "enable_access_log": False}
        http = {"host": settings.host, "port": settings.port}
        with _starting("the application"):
            serve.start("HeadOnly", http, logging_config=logs)
            serve.run(application, name=APP, route_prefix="/", logging_config=logs)
            ingress = serve.get_app_handle(APP)
            ingress.broadcast("wait").results()
        _on_signals(lambda *_: ended.set())
        log.info("Ray Serve listens on http://%s:%d", settings.host, settings.port)
        ended.wait()
        ingress.broadcast("drain").results(timeout_s=settings.drain_delay_s + settings.drain_s + 5)
    finally:
        serve.shutdown()
        ray.shutdown()


@contextmanager
def _starting(what: str) -> Iterator[None]:
    """Turn whatever Ray raises while something starts into one line."""
    try:
        yield
    except Exception as error:
        log.debug("%s does not start", what, exc_info=error)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CotamError(f"{what} does not start: {reason}", hint="the log says more") from error


def _on_signals(act: Callable[..., None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, act)


def _processes(replicas: RaySettings) -> int:
    """The most replicas that there can be."""
    most = (
        (replicas.min_decoders, replicas.max_decoders),
        (replicas.min_models, replicas.max_models),
    )
    return replicas.ingress + sum(max(pair) for pair in most)


def main() -> None:
    """Entry of `python -m cloud_server.ray_app`; settings come from the environment alone."""
    try:
        settings = load_settings()
        configure(settings)
        run(settings)
    except CotamError as error:
        print(f"cloud_server: {error}", file=sys.stderr)
        raise SystemExit(exit_code(error)) from error
