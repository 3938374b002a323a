"""How a model of single pictures does on clips: probes about frames, and what follows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cloud_server.inference.decoder import Decoded
from cloud_server.inference.mllm.base import Backend
from cloud_server.inference.work import Work
from evaluation.codecs.cotam import bare
from scenes.motion import MotionQuestion, Probe, Track
from shared.errors import CotamError

MOST_TOKENS: Final = 8


def answers_about(
    backend: Backend, questions: Sequence[MotionQuestion], shown: Sequence[Decoded]
) -> list[str]:
    """What a model says of a clip's questions, each probe asked once about its frame alone.

    shown: the frames as they came over the wire.
    """
    probes = sorted({(p.frame, p.prompt) for question in questions for p in question.probes})
    frames = sorted({frame for frame, _ in probes})
    visuals = dict(zip(frames, backend.see([shown[frame] for frame in frames]), strict=True))
    works = [Work(None, prompt, MOST_TOKENS, visual=visuals[frame]) for frame, prompt in probes]
    backend.answer([work.request() for work in works])
    said = {}
    for probe, work in zip(probes, works, strict=True):
        if work.answer is None:
            raise work.error or CotamError("the model gave no answer")
        said[probe] = work.answer.text
    return [question.compose([said[_named(p)] for p in question.probes]) for question in questions]


def blind(track: Track) -> list[Decoded]:
    """Frames that show nothing."""
    return [bare(np.full_like(picture, 128)) for picture in track.pictures]


def _named(probe: Probe) -> tuple[int, str]:
    return probe.frame, probe.prompt
