"""How long the steps of coding take here, and Pillow's codecs beside them in the same run."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np
from PIL import Image, features

from edge_client.coding.encoder import Encoder
from edge_client.pictures.images import Picture, load

PEERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "jpeg": ("JPEG", {"quality": 50}),
    "webp": ("WEBP", {"quality": 50, "method": 4}),
    "avif": ("AVIF", {"quality": 50, "speed": 6}),
}


def drawn(width: int = 1024, height: int = 1024) -> Picture:
    """A picture of gradients, edges and noise, for where none is given; always the same."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(x / (40 + 9 * i)) + np.cos(y / (31 + 7 * i)) for i in range(3)]
    picture = 128 + 40 * np.stack(planes, axis=-1)
    for _ in range(40):
        left, top = int(chance.integers(width)), int(chance.integers(height))
        picture[top : top + 90, left : left + 120] = chance.integers(0, 255, 3)
    noisy = picture + chance.normal(0, 6, picture.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def measure(encoder: Encoder, picture: Picture, quality: float, repeat: int) -> dict[str, Any]:
    """Medians in milliseconds over `repeat` runs after one that does not count.

    steps: of coding, loading from a PNG among them. total: guidance to stream. peers: encoders of
    Pillow that are there, with bytes and their time over ours.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    runs: list[dict[str, float]] = []
    size = 0
    for _ in range(repeat + 1):
        times: dict[str, float] = {}
        _timed(times, "load", lambda: load(file.getvalue()))
        analysed = encoder.analyse(picture)
        size = len(analysed.code(quality).to_bytes())
        runs.append(times | analysed.timings_ms)
    steps = {name: round(median(run[name] for run in runs[1:]), 2) for name in runs[0]}
    total = sum(steps.values()) - steps["load"]
    peers = {
        name: _peer(picture, form, options, repeat, total)
        for name, (form, options) in PEERS.items()
        if name == "jpeg" or features.check(name)
    }
    height, width = picture.shape[:2]
    return {
        "width": width,
        "height": height,
        "bytes": size,
        "steps_ms": steps,
        "total_ms": round(total, 2),
        "peers": peers,
    }


def _peer(
    picture: Picture, form: str, options: dict[str, Any], repeat: int, total_ms: float
) -> dict[str, float]:
    image = Image.fromarray(picture)
    times = []
    size = 0
    for _ in range(repeat + 1):
        file = io.BytesIO()
        run: dict[str, float] = {}
        _timed(run, "save", lambda file=file: image.save(file, form, **options))  # type: ignore[misc]
        times.append(run["save"])
        size = len(file.getvalue())
    taken = median(times[1:])
    return {"ms": round(taken, 2), "bytes": size, "times_ours": round(taken / total_ms, 3)}


def _timed(times: dict[str, float], name: str, work: Callable[[], Any]) -> None:
    start = time.perf_counter()
    work()
    times[name] = 1000 * (time.perf_counter() - start)
