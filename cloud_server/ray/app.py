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
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import ray
import torch
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from cloud_server.app import create_app
from cloud_server.inference.decoder import decoders_of, device_of
from cloud_server.inference.mllm.base import Seen
from cloud_server.inference.work import Work
from cloud_server.observe.logs import configure
from cloud_server.ray.dispatcher import RayService
from cloud_server.ray.settings import Scale, load_scale
from cloud_server.service import Service
from cloud_server.settings import Settings, load_settings
from shared.bundle import open_bundle
from shared.errors import CotamError, exit_code
from shared.schemas import ModelInfo

APP: Final = "cotam"
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
}
"""Of a Ray that is started here, where the environment does not say otherwise."""

log = logging.getLogger(__name__)


@serve.ingress()
class Ingress:
    """The HTTP interface."""

    def __init__(self, decoders: DeploymentHandle, models: DeploymentHandle) -> None:
        settings = load_settings()
        configure(settings)
        self._service = RayService(settings, decoders, models)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(service=self._service)

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


class Decoders:
    """Streams to pictures, one at a time: memory is bounded by the largest that is taken."""

    def __init__(self) -> None:
        settings = load_settings()
        configure(settings)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        device = device_of(settings.device)
        bundles = [open_bundle(place) for place in settings.bundle]
        self._decoders = decoders_of(bundles, device, settings.synthesis)
        self._lock = threading.Lock()

    def ready(self) -> bool:
        """Answers when the decoders are loaded."""
        return True

    def decode(self, work: Work) -> Work:
        """`work` with its picture, or with what is wrong with its stream."""
        assert work.stream is not None
        with self._lock:
            start = time.perf_counter()
            try:
                found = self._decoders[work.stream.codec_id].decode(work.stream)
                work.decoded = replace(found, latent=found.latent.cpu())
            except CotamError as error:
                work.error = error
            work.times["decode"] = 1000 * (time.perf_counter() - start)
        return work


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
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        nobody = threading.Event()
        asked = _arrived(work, self._device)
        asked.stopped = nobody.is_set
        if streams:
            asked.on_text = lambda text: loop.call_soon_threadsafe(pieces.put_nowait, text)
        future = asyncio.wrap_future(self._service.submit(asked))
        future.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield _departing(future.result())
        finally:
            nobody.set()
            future.cancel()


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application, for Ray's commands and manifests: `cloud_server.ray_app:build`.

    arguments: fields of `Scale`, before those of the environment. Raises UsageError.
    """
    settings, scale = load_settings(), load_scale(arguments)
    decoders = serve.deployment(
        Decoders,
        max_ongoing_requests=2,  # one is decoded while the next travels
        autoscaling_config={
            "min_replicas": scale.min_decoders,
            "max_replicas": max(scale.min_decoders, scale.max_decoders),
            "target_ongoing_requests": 1.5,
        },
        ray_actor_options={"num_cpus": 1, "num_gpus": scale.decoder_gpus},
    )
    models = serve.deployment(
        Models,
        max_ongoing_requests=2 * settings.max_batch,  # a batch runs while the next gathers
        autoscaling_config={
            "min_replicas": scale.min_models,
            "max_replicas": max(scale.min_models, scale.max_models),
            "target_ongoing_requests": 1.5 * settings.max_batch,
        },
        graceful_shutdown_timeout_s=settings.drain_s,
        ray_actor_options={"num_cpus": 1, "num_gpus": scale.model_gpus},
    )
    ingress = serve.deployment(
        Ingress,
        num_replicas=scale.ingress,
        # Far above its places: it refuses in its own words, with Retry-After, not Ray's proxy.
        max_ongoing_requests=8 * settings.max_requests,
        max_queued_requests=8 * settings.max_requests,
        graceful_shutdown_timeout_s=settings.drain_s,
        ray_actor_options={"num_cpus": 1},
    )
    return ingress.bind(decoders.bind(), models.bind())


def _arrived(work: Work, device: torch.device) -> Work:
    """A work as it is needed here: on this device, and in memory that is its own."""
    decoded, seen = work.decoded, work.seen
    if decoded is not None:
        decoded = replace(
            decoded,
            picture=decoded.picture.copy(),
            latent=decoded.latent.to(device),
            codes=decoded.codes.copy(),
        )
    return replace(work, decoded=decoded, seen=None if seen is None else _moved(seen, device))


def _departing(work: Work) -> Work:
    """A work as it travels: what a picture became goes along only where it is to be kept."""
    assert work.seen is not None or work.error is not None
    seen, decoded = work.seen, work.decoded
    if seen is not None:
        kept = work.prompt is None
        seen = _moved(seen, torch.device("cpu")) if kept else Seen(seen.view, None, 0)
    if decoded is not None:
        decoded = replace(decoded, latent=decoded.latent.cpu())
    bare = replace(work, stream=None, on_text=None, on_answer=None, stopped=None)
    return replace(bare, seen=seen, decoded=decoded)


def _moved(seen: Seen, device: torch.device) -> Seen:
    content = seen.content
    return replace(seen, content=content.to(device) if isinstance(content, Tensor) else content)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted is answered before the end."""
    application = build({})
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        # Replicas are more than cores where one machine has to do everything.
        cpus = max(os.cpu_count() or 1, _processes(load_scale({})))
        ray.init(include_dashboard=False, num_cpus=cpus)
    ended = threading.Event()
    _on_signals(lambda *_: sys.exit())  # after Ray has set its own
    try:
        logs = {"encoding": "JSON", "enable_access_log": False}
        http = {"host": settings.host, "port": settings.port}
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


def _on_signals(act: Callable[..., None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, act)


def _processes(scale: Scale) -> int:
    """The most replicas that there can be."""
    most = (scale.min_decoders, scale.max_decoders), (scale.min_models, scale.max_models)
    return scale.ingress + sum(max(pair) for pair in most)


def main() -> None:
    """Entry of `python -m cloud_server.ray_app`; settings come from the environment alone."""
    try:
        settings = load_settings()
        configure(settings)
        run(settings)
    except CotamError as error:
        print(f"cloud_server: {error}", file=sys.stderr)
        raise SystemExit(exit_code(error)) from error
