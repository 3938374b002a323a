"""From what a model gave its own words to how often it is right: calibration of confidence.

    sureness, 0..1 --log odds--> slope * odds + offset --> confidence, 0..1

Platt's scaling, fitted on validation questions by `python -m evaluation calibration`. It keeps the
order of answers, and needs nothing of a model but the probability of its words.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.bundle import MLLM
from shared.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_server.settings import Settings
    from shared.bundle import Bundle

FITTED: Final = Path(__file__).parent / "calibrations.json"
"""Slope and offset by the SHA-256 of a language model's weights."""
WEIGHTS: Final = f"{MLLM}/model.safetensors"
_NEAREST: Final = 1e-6  # to 0 and 1: log odds are finite


@dataclass(frozen=True)
class Calibration:
    """confidence = logistic(slope * log odds of the sureness + offset)."""

    slope: float = 1.0
    offset: float = 0.0

    def confidence(self, sureness: float) -> float:
        """How probable it is that an answer of that sureness is right, 0..1."""
        odds = self.slope * log_odds(sureness) + self.offset
        return 1 / (1 + math.exp(-odds))


def log_odds(probability: float) -> float:
    """Finite log odds of a probability 0..1."""
    held = min(1 - _NEAREST, max(_NEAREST, probability))
    return math.log(held / (1 - held))


def calibration_of(settings: Settings, bundles: Sequence[Bundle]) -> Calibration:
    """What the settings say; else what was fitted for the bundles' language model; else none.

    Raises UsageError for a setting that is no pair of numbers.
    """
    if settings.calibration:
        try:
            slope, offset = (float(part) for part in settings.calibration.split(","))
        except ValueError as error:
            raise UsageError(
                f"COTAM_CALIBRATION is {settings.calibration!r}",
                hint="slope,offset as `python -m evaluation calibration` prints them",
            ) from error
        return Calibration(slope, offset)
    fitted = json.loads(FITTED.read_text())
    if not settings.mllm:
        for bundle in bundles:
            if WEIGHTS in bundle.manifest.files:
                known = fitted.get(bundle.manifest.files[WEIGHTS].sha256)
                return Calibration(**known) if known else Calibration()
    return Calibration()
