"""The life of the service: loading and warming in the background, ready, draining."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal

from cloud_server.calibration import calibration_of
from cloud_server.guard.idempotency import AnswerStore
from cloud_server.guard.keys import KeyRing
from cloud_server.guard.limits import Admission, RateLimit
from cloud_server.guard.processes import Processes
from cloud_server.inference.clip import Clip
from cloud_server.inference.image_store import ImageStore, Item
from cloud_server.inference.work import Dispatcher, Work
from cloud_server.inference.worker import Worker
from cloud_server.observe.metrics import Metrics
from cloud_server.observe.tracing import Tracing
from cloud_server.settings import Settings
from shared.bitstream import Bitstream, Limits
from shared.bundle import Bundle, find
from shared.clips.kept_frame import KeptFrame
from shared.errors import CotamError, NotFound, NotReady
from shared.remote.places import WHOLE, open_place
from shared.schemas import ModelInfo

if TYPE_CHECKING:
    from cloud_server.inference.engine import Engine

MOST_FRAMES: Final = 1_024  # of a clip; their pixels are bounded like those of several pictures
STUCK: Final = 3.0  # deadlines after which a batch will not end any more

log = logging.getLogger(__name__)

Elsewhere = Callable[[str, str], Awaitable[tuple[Item, float] | None]]
"""Asks the other processes of an application for what they keep of a caller under a name."""

Status = Literal["ok", "starting", "draining"]


class Service:
    """What the routes talk to. Raises BundleError or UsageError at once for what is wrong.

    dispatcher: gets works done; by default the inference thread of this process. elsewhere: None
    where no other process takes requests of the same callers.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.settings = settings
        self.bundles: list[Bundle] = [open_place(place, WHOLE) for place in settings.bundle]
        self.calibration = calibration_of(settings, self.bundles)
        self.limits = Limits(settings.max_pixels, settings.max_body_bytes, settings.max_body_bytes)
        self.keys = KeyRing.of(settings)
        self.rate = RateLimit(settings.rate_per_minute, settings.rate_burst)
        self.admission = Admission(settings.max_requests)
        self.answers = AnswerStore(settings.replays, settings.replay_ttl_s)
        self.images = ImageStore(settings.images, settings.image_bytes, settings.image_ttl_s)
        self._elsewhere = elsewhere
        self.processes = Processes()
        self.metrics = Metrics()
        self.tracing = Tracing.of(settings)
        self.metrics.gauge(
            "cotam_requests_inside",
            "Requests read, queued or answered now.",
            lambda: self.admission.inside,
        )
        self.metrics.gauge("cotam_images", "Pictures kept.", lambda: len(self.images))
        self.metrics.gauge("cotam_images_bytes", "Their memory.", lambda: self.images.bytes)
        self.metrics.gauge("cotam_ready", "1 when ready.", lambda: self.status == "ok")
        self.failure: CotamError | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.draining = False
        self.closed = False
        self._model: ModelInfo | None = None
        self._dispatcher = dispatcher or Worker(
            self._load_engine, settings.max_batch, self._engine_died
        )
        self._loader = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self) -> None:
        """Load and warm up in the background; probes answer meanwhile."""
        self._loader.start()

    def wait(self) -> None:
        """Wait until loading has succeeded or failed."""
        self._loader.join()

    def stop(self) -> None:
        """Finish what was accepted. Called when no request is open any more."""
        self.draining = True
        self._dispatcher.close()
        self._loader.join()
        if self.tracing is not None:
            self.tracing.close()

    def worked(self, work: Work) -> None:
        """Count and trace a work that is done, from the task of its request."""
        self.metrics.worked(work)
        if self.tracing is not None:
            self.tracing.worked(work)

    @property
    def status(self) -> Status:
        """ "ok" only after a real decode and answer."""
        if self.draining:
            return "draining"
        if self.failure is not None:
            return "starting"
        return "starting" if self._model is None else "ok"

    def bundle_ids(self) -> list[str]:
        """Hexadecimal ids of the bundles that devices can fetch."""
        return [bundle.hex_id for bundle in self.bundles]

    def require_open(self) -> None:
        """Raise NotReady before the model has answered once, and where no request is taken now."""
        self.model()
        if self.closed:
            raise _not_ready("the server is draining", "ask again in a second")

    def parse(self, stream: bytes) -> Bitstream:
        """A stream of one of our codecs; nothing of it is decoded. Raises a StreamError."""
        parsed = Bitstream.from_bytes(stream, self.limits)
        find(self.bundles, parsed.codec_id)
        return parsed

    def parse_clip(self, stream: bytes, kept: KeptFrame | None = None, keeps: bool = False) -> Clip:
        """A clip of one of our codecs; nothing of it is decoded.

        kept, keeps: as of `Clip`. Raises a StreamError.
        """
        clip = Clip(stream, self.limits, MOST_FRAMES, kept, keeps)
        find(self.bundles, clip.codec_id)
        return clip

    async def bring(self, caller: str, name: str) -> None:
        """Take over the picture or question of that name where another process keeps it."""
        if self._elsewhere is None or self.images.has(caller, name):
            return
        if (taken := await self._elsewhere(caller, name)) is not None:
            self.images.adopt(caller, name, *taken)

    def submit(self, work: Work) -> None:
        """Have a work done; its sink hears of it. Raises NotReady."""
        self.model()
        self._dispatcher.submit(work)

    def cancel(self, work: Work) -> None:
        """Nobody waits for this work any more."""
        self._dispatcher.cancel(work)

    def model(self) -> ModelInfo:
        """The model that answers. Raises NotReady before it has answered once."""
        if self._model is None:
            raise _not_ready("the model is being loaded", "ask again when GET /readyz says ok")
        return self._model

    def require_model(self, model_id: str) -> ModelInfo:
        """The model, if that is its id. Raises NotReady or NotFound."""
        model = self.model()
        if model_id != model.id:
            raise NotFound(f"there is no model {model_id[:64]!r}", hint=f"there is {model.id!r}")
        return model

    def check_alive(self) -> None:
        """Raise NotReady where only a new process can help."""
        if self.failure is not None:
            raise NotReady(self.failure.message, hint=self.failure.hint)
        if self._dispatcher.busy_for() > STUCK * self.settings.deadline_s:
            raise NotReady("the inference thread is stuck", hint="restart the server")

    def _engine_died(self, error: Exception) -> None:
        self.failure = CotamError(f"the model fails on every request: {error}")
        log.error("%s", self.failure, exc_info=error)

    def _load_engine(self) -> Engine:
        # torch and transformers take seconds to import: the probes answer before.
        from cloud_server.inference.engine import load_engine

        return load_engine(self.settings, self.bundles)

    def _load(self) -> None:
        try:
            self._model = self._dispatcher.load()
        except Exception as error:
            if self.draining:
                return
            if isinstance(error, CotamError):
                self.failure = error
                log.error("%s", error)
            else:
                self.failure = CotamError(f"loading failed: {error}")
                log.error("%s", self.failure, exc_info=error)
            self.on_failure()
            return
        log.info("ready: %s on %s", self._model.id, self._dispatcher.place)


def _not_ready(message: str, hint: str) -> NotReady:
    error = NotReady(message, hint=hint)
    error.retry_after = 1.0
    return error
