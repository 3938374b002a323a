"""The service's side of a Ray application: works are sent to replicas, again where one dies.

Work --Remote--> Decoders --> Models --pieces, then the Work with its answer--> Remote
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from cloud_server.inference.work import Work
from cloud_server.service import Service
from cloud_server.settings import Settings
from shared.errors import CotamError, NotReady, UpstreamError
from shared.schemas import ModelInfo

TRIES: Final = 4
"""How many replicas a request may lose before it is given up."""
PATIENCE_S: Final = 5.0

log = logging.getLogger(__name__)


class Remote:
    """In the place of a `Worker`: sends works to decoders and models, again where one dies."""

    def __init__(self, decoders: DeploymentHandle, models: DeploymentHandle) -> None:
        self._decoders, self._models = decoders, models.options(stream=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, work: Work) -> Future[Work]:
        """As `Worker.submit`; called on the event loop."""
        future: Future[Work] = Future()
        task = asyncio.get_running_loop().create_task(self._run(work, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        future.add_done_callback(lambda done: task.cancel() if done.cancelled() else None)
        return future

    def busy_for(self) -> float:
        """Nothing computes here: Ray watches the replicas."""
        return 0.0

    def close(self) -> None:
        """Nothing waits here when no request is open any more."""

    async def _run(self, work: Work, future: Future[Work]) -> None:
        told = _Told(work)
        for attempt in range(1, TRIES + 1):
            try:
                await self._ask(work, told)
                break
            except (RayError, RayServeException) as error:
                lost = str(error).strip().splitlines()[-1:]
                log.warning("a replica was lost, try %d of %d: %s", attempt, TRIES, lost)
                work.error = UpstreamError("the replicas that worked on this request were lost")
            except CotamError as error:
                work.error = error
                break
            except Exception as error:
                work.error = UpstreamError("the request could not be passed on")
                work.error.__cause__ = error
                break
        if future.set_running_or_notify_cancel():
            future.set_result(work)

    async def _ask(self, work: Work, told: _Told) -> None:
        """One try. Replicas report what is wrong with a request; they raise only when they die."""
        bare = replace(work, on_text=None, on_answer=None, stopped=None, error=None)
        decoded = bare if work.seen is not None else self._decoders.decode.remote(bare)
        answers = self._models.answer.remote(decoded, work.on_text is not None)
        told.again()
        try:
            async for piece in answers:
                if isinstance(piece, str):
                    told.hear(piece)
                else:
                    _take_over(work, piece)
        except asyncio.CancelledError:
            answers.cancel()
            raise


class _Told:
    """What the client has been told: a second replica repeats it before it goes on."""

    def __init__(self, work: Work) -> None:
        self._say = work.say
        self._told = ""
        self._heard = ""

    def again(self) -> None:
        """Listen from the beginning."""
        self._heard = ""

    def hear(self, piece: str) -> None:
        """Pass on what is new. Raises UpstreamError where words would have to be taken back."""
        self._heard += piece
        if self._heard.startswith(self._told):
            new = self._heard[len(self._told) :]
            self._told = self._heard
            if new and self._say is not None:
                self._say(new)
        elif not self._told.startswith(self._heard):
            raise UpstreamError("a replica was lost, and another answers in other words")


class RayService(Service):
    """A service that computes nothing itself."""

    def __init__(
        self, settings: Settings, decoders: DeploymentHandle, models: DeploymentHandle
    ) -> None:
        super().__init__(settings)
        self._decoders, self._models = decoders, models
        self._model: ModelInfo | None = None
        self.closed = False

    def model(self) -> ModelInfo:
        """The model of the replicas. Raises NotReady."""
        super().require_ready()
        assert self._model is not None
        return self._model

    def submit(self, work: Work) -> Future[Work]:
        """As `Service.submit`; what was admitted before the end of the drain is taken."""
        super().require_ready()
        assert self._worker is not None
        return self._worker.submit(work)

    def require_ready(self) -> None:
        """Raise NotReady before a decoder and a model are there, and after the drain."""
        if self.closed:
            error = NotReady("the server is draining", hint="ask again in a second")
            error.retry_after = 1.0
            raise error
        super().require_ready()

    def _load(self) -> None:
        """Wait for the replicas; each has proved itself before it says anything."""
        if not self._answered(self._decoders.ready.remote()):
            return
        if (model := self._answered(self._models.describe.remote())) is None:
            return
        self._model = model
        self._worker = Remote(self._decoders, self._models)
        log.info("ready: %s", model.id)

    def _answered(self, response: DeploymentResponse) -> Any:
        """What a replica says, however long it takes to start; None where the drain comes first."""
        while not self.draining:
            try:
                return response.result(timeout_s=PATIENCE_S)
            except TimeoutError:
                continue
        return None


def _take_over(work: Work, found: Work) -> None:
    """Fill in what the replicas found; a picture that was kept here stays as it is."""
    work.decoded, work.answer, work.error = found.decoded, found.answer, found.error
    work.batch, work.times = found.batch, found.times
    work.seen = work.seen or found.seen
