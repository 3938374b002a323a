"""Everything that computes, in the order of the data, for a batch of requests.

    Bitstream --Decoder--> Decoded --Backend.see--> VisualInput --Backend.answer--> AnswerSink
    frames of a clip --------------Backend.see_clip--^

An Engine is used by one thread; `worker.py` is that thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from cloud_server.inference.clip import ClipFrame
from cloud_server.inference.decoder import decoders_of, device_of, undecoded
from cloud_server.inference.mllm.base import Backend
from cloud_server.inference.mllm.load import Weights, load_backend
from cloud_server.inference.mllm.upstream import UpstreamOptions
from cloud_server.inference.work import Work
from shared.bitstream import Bitstream
from shared.bundle import Bundle
from shared.errors import CotamError, DeadlineExceeded, UpstreamError
from shared.level_map import flat_codes, latent_shape
from shared.nets.fast_synthesis import Precision
from shared.schemas import ModelInfo

if TYPE_CHECKING:
    from cloud_server.settings import Settings

WARM_UP_SIDE: Final = 64
WARM_UP_CODE: Final = 60
TOGETHER: Final = 4096  # latents of the pictures that are restored at once, a megapixel


def load_engine(settings: Settings, bundles: Sequence[Bundle]) -> Engine:
    """The engine of the settings. Raises UsageError, UpstreamError or BundleCorrupt."""
    upstream = UpstreamOptions(
        settings.upstream_model,
        settings.upstream_key.get_secret_value(),
        settings.upstream_timeout_s,
        settings.upstream_retries,
        settings.upstream_tower,
    )
    weights = Weights(settings.dtype, settings.quantise, settings.synthesis)
    return Engine(
        bundles,
        settings.mllm,
        settings.device,
        settings.threads,
        upstream,
        weights,
        settings.synthesis,
        settings.keep_tokens,
    )


class Engine:
    """The decoders of the bundles and the language model, loaded."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        mllm: str,
        device: str,
        threads: int,
        upstream: UpstreamOptions | None = None,
        weights: Weights | None = None,
        synthesis: Precision = "auto",
        keep: float = 1.0,
    ) -> None:
        """keep: share of a picture's tokens that the language model reads."""
        if threads:
            torch.set_num_threads(threads)
        self.device = device_of(device)
        self.bundles = list(bundles)
        self.crashes = 0  # in a row, of the model and not of the request
        self._decoders = decoders_of(bundles, self.device, synthesis)
        self.backend: Backend = load_backend(
            mllm, self.bundles, self.device, upstream or UpstreamOptions(), weights, keep
        )

    def run(self, batch: Sequence[Work]) -> None:
        """Finish each work; one that fails leaves the others alone."""
        looks: list[Work] = []
        for work in batch:
            work.batch = len(batch)
            for look in (work, *work.others):
                if not work.finished:
                    self._guarded([look], self._read)
                    looks.append(look)
        for group in self._alike([work for work in looks if not work.finished]):
            self._guarded(group, self._restore)
        for work in batch:
            work.keep_frame()
        clips = self._clips(batch)
        in_clips = {id(frame) for clip in clips for frame in clip}
        alone = [work for work in looks if id(work) not in in_clips]
        self._guarded([w for w in alone if not w.finished and w.visual is None], self._see)
        for clip in clips:
            self._guarded(clip[:1], partial(self._see_clip, clip))
        for work in batch:
            _gather(work)
        self._guarded([w for w in batch if not w.finished and w.prompt is not None], self._answer)
        for work in batch:
            work.finish(None)

    def warm_up(self) -> None:
        """Decode a small grey picture and answer about it. Raises what fails."""
        work = Work(self._grey(self.bundles[0]), "what is this?", 2)
        self.run([work])
        if work.error is not None:
            raise work.error

    def model(self) -> ModelInfo:
        """The model that answers."""
        views = {self.backend.view(bundle.id) for bundle in self.bundles}
        return ModelInfo(
            id=self.backend.name,
            view="adapter" if views == {"adapter"} else "picture",
            bundles=[bundle.hex_id for bundle in self.bundles],
            codecs=list(dict.fromkeys(bundle.codec_id.hex() for bundle in self.bundles)),
            resolution=self.backend.resolution or self.bundles[0].manifest.resolution,
        )

    def _read(self, batch: Sequence[Work]) -> None:
        for work in batch:
            if work.stopped():
                raise DeadlineExceeded("nobody waits for this answer any more")
            if work.prompt is not None:
                as_clips = self.backend.see_clip is not None
                self.backend.check(work.turns(as_clips), work.max_new_tokens)
            if work.original is not None:
                work.decoded = undecoded(work.original)
            elif work.visual is None and work.decoded is None:
                assert work.stream is not None
                start = time.perf_counter()
                decoder = self._decoders[work.stream.codec_id]
                work.latents = decoder.read(work.stream, work.enhancements)
                work.took("decode", start)

    def _alike(self, batch: Sequence[Work]) -> list[list[Work]]:
        """Works whose pictures are restored together: of one codec and shape, and not too many.

        Works without latents are left out.

        A CPU gains nothing by that, and would pay for it with memory.
        """
        groups: dict[Any, list[list[Work]]] = {}
        for work in batch:
            if work.latents is None:
                continue
            shape = work.latents.latent.shape
            alike = groups.setdefault((work.latents.stream.codec_id, shape), [[]])
            most = 1 if self.device.type == "cpu" else TOGETHER // (shape[1] * shape[2])
            if len(alike[-1]) >= max(1, most):
                alike.append([])
            alike[-1].append(work)
        return [group for alike in groups.values() for group in alike]

    def _restore(self, batch: Sequence[Work]) -> None:
        start = time.perf_counter()
        latents = [work.latents for work in batch if work.latents is not None]
        pictures = self._decoders[latents[0].stream.codec_id].restore(latents)
        for work, decoded in zip(batch, pictures, strict=True):
            work.decoded, work.latents = decoded, None
            read, (begin, _) = work.times["decode"], work.spans["decode"]
            work.took("decode", start)
            work.times["decode"] += read  # without the wait for others between its two halves
            work.spans["decode"] = (begin, work.spans["decode"][1])

    def _see(self, batch: Sequence[Work]) -> None:
        start = time.perf_counter()
        looks = self.backend.see([work.decoded for work in batch if work.decoded is not None])
        for work, visual in zip(batch, looks, strict=True):
            work.visual = visual
            if work.original is not None:
                work.visual, work.original = replace(visual, view="original"), None
            if not work.keeps_decoded:
                work.decoded = None
            work.took("vision", start)

    def _clips(self, batch: Sequence[Work]) -> list[list[Work]]:
        """The frames of each clip that the model takes as one and that were all decoded."""
        if self.backend.see_clip is None:
            return []
        runs = [run for work in batch for run in work.shown(as_clips=True) if len(run) > 1]
        return [run for run in runs if not any(frame.finished for frame in run)]

    def _see_clip(self, clip: Sequence[Work], heads: Sequence[Work]) -> None:
        """The first frame's work gets what was seen of them all, or what is wrong."""
        assert self.backend.see_clip is not None
        start = time.perf_counter()
        frames = [frame.decoded for frame in clip if frame.decoded is not None]
        times = [frame.stream.time for frame in clip if isinstance(frame.stream, ClipFrame)]
        (head,) = heads
        head.visual = self.backend.see_clip(frames, times)
        for frame in clip:
            if not frame.keeps_decoded:
                frame.decoded = None
            frame.took("vision", start)

    def _answer(self, batch: Sequence[Work]) -> None:
        start = time.perf_counter()
        for work in batch:
            work.generating_since = start
        self.backend.answer([work.request() for work in batch])
        self.crashes = 0

    def _guarded(self, batch: Sequence[Work], step: Callable[[Sequence[Work]], None]) -> None:
        """Run a step; where a batch fails, each of it alone: the fault stays with its cause."""
        if not batch:
            return
        try:
            step(batch)
        except Exception as error:
            left = [work for work in batch if not work.finished]
            if len(batch) > 1 and not any(work.text_sent for work in left):
                for work in left:
                    self._guarded([work], step)
                return
            if isinstance(error, CotamError):
                failure = error
            else:
                self.crashes = 1 + (self.crashes if len(left) == len(batch) else 0)
                failure = UpstreamError("the model failed on this request")
                failure.__cause__ = error
            for work in left:
                work.finish(failure)

    def _grey(self, bundle: Bundle) -> Bitstream:
        """A stream of a flat picture, made with the integer network alone."""
        side = WARM_UP_SIDE
        codes = flat_codes(WARM_UP_CODE, side, side)
        channels = bundle.manifest.codec.latent_channels
        latent = np.zeros((channels, *latent_shape(side, side)), np.float32)
        encoded = self._decoders[bundle.codec_id].entropy.encode(latent, codes, WARM_UP_CODE)
        return Bitstream(
            bundle.codec_id, side, side, WARM_UP_CODE, encoded.check, b"", encoded.payload
        )


def _gather(work: Work) -> None:
    """Add up what its other pictures took; a fault of one of them is the work's own."""
    for other in work.others:
        other.finish(None)
        work.times["decode"] += other.times["decode"]
        if other.error is not None:
            work.finish(other.error)
