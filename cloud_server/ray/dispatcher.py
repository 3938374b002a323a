"""The ingress's side of a Ray application: works are sent to replicas, again where one dies.

Work --ReplicaDispatcher--> Decoders --> Models --pieces, then the Work with its answer--> sink
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from typing import Any, Final

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from cloud_server.inference.work import NOBODY, Work
from shared.errors import CotamError, NotReady, UpstreamError
from shared.schemas import ModelInfo

TRIES: Final = 4
"""How many replicas a request may lose before it is given up."""
PATIENCE_S: Final = 5.0

log = logging.getLogger(__name__)


class ReplicaDispatcher:
    """A Dispatcher: sends works to decoders and models, again where one dies."""

    place = "replicas"

    def __init__(self, decoders: DeploymentHandle, models: DeploymentHandle) -> None:
        self._decoders, self._models = decoders, models
        self._answers = models.options(stream=True)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closing = threading.Event()

    def load(self) -> ModelInfo:
        """Wait for the replicas; each has proved itself before it says anything."""
        self._wait(self._decoders.ready.remote())
        model: ModelInfo = self._wait(self._models.describe.remote())
        return model

    def submit(self, work: Work) -> None:
        """Send a work on its way; called on the event loop."""
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._tasks[id(work)] = task
        task.add_done_callback(lambda _: self._tasks.pop(id(work), None))

    def cancel(self, work: Work) -> None:
        """Stop the replica that works on it."""
        if (task := self._tasks.get(id(work))) is not None:
            task.cancel()

    def busy_for(self) -> float:
        """Nothing computes here: Ray watches the replicas."""
        return 0.0

    def close(self) -> None:
        """Wait for no replica any more. No work is left when no request is open."""
        self._closing.set()

    async def _run(self, work: Work) -> None:
        transcript = Transcript(work)
        failure: CotamError | None = None
        for attempt in range(1, TRIES + 1):
            try:
                await self._ask(work, transcript)
                return
            except (RayError, RayServeException) as error:
                reason = str(error).strip().splitlines()[-1:]
                log.warning("a replica was lost, try %d of %d: %s", attempt, TRIES, reason)
                failure = UpstreamError("the replicas that worked on this request were lost")
            except CotamError as error:
                failure = error
                break
            except Exception as error:
                failure = UpstreamError("the request could not be passed on")
                failure.__cause__ = error
                break
        work.finish(failure)

    async def _ask(self, work: Work, transcript: Transcript) -> None:
        """One try. Replicas report what is wrong with a request; they raise only when they die."""
        bare = replace(work, sink=NOBODY)
        looks = (work, *work.others)
        seen = all(look.visual is not None or look.original is not None for look in looks)
        decoded = bare if seen else self._decoders.decode.remote(bare)
        answers = self._answers.answer.remote(decoded, work.streams)
        transcript.restart()
        try:
            async for piece in answers:
                if isinstance(piece, str):
                    transcript.hear(piece)
                else:
                    _take_over(work, piece)
        except asyncio.CancelledError:
            answers.cancel()
            raise

    def _wait(self, response: DeploymentResponse) -> Any:
        """What a replica says, however long it takes to start. Raises NotReady when closing."""
        while not self._closing.is_set():
            try:
                return response.result(timeout_s=PATIENCE_S)
            except TimeoutError:
                continue
        raise NotReady("the server is draining")


class Transcript:
    """What the client was sent: a second replica repeats it before it goes on."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sent = ""
        self._heard = ""

    def restart(self) -> None:
        """Listen from the beginning."""
        self._heard = ""

    def hear(self, piece: str) -> None:
        """Pass on what is new. Raises UpstreamError where words would have to be taken back."""
        self._heard += piece
        if self._heard.startswith(self._sent):
            new = self._heard[len(self._sent) :]
            self._sent = self._heard
            if new:
                self._work.text(new)
        elif not self._sent.startswith(self._heard):
            raise UpstreamError("a replica was lost, and another answers in other words")


def _take_over(work: Work, remote: Work) -> None:
    """Take what the replicas made; a picture that was kept here stays as it is."""
    work.decoded, work.batch, work.times = remote.decoded, remote.batch, remote.times
    work.visual = work.visual or remote.visual
    work.frame = None if remote.frame is None else remote.frame.copied()
    work.finish(remote.error or remote.answer)
