"""The demonstration: a real server on loopback, real pictures, real bitstreams, real answers.

python -m examples.demo
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from PIL import Image

from edge_client import EdgeClient
from edge_client.pictures.images import Picture, fit, load
from edge_client.server.query import Query
from shared.libraries import PICTURE_FORMATS

FOLDER: Final = Path(__file__).parent
ASKED: Final = (
    ("street.png", "how many cars are there?"),
    ("street.png", "what colour are the cars?"),
    ("beach.png", "how many people are there?"),
    ("field.png", "what does the sign say?"),
)
START_SECONDS: Final = 180.0
OTHERS: Final[dict[str, dict[str, object]]] = {
    "JPEG": {"optimize": True},
    "WebP": {"method": 6},
    "AVIF": {"speed": 4},
}


def main() -> None:
    """Ask, print, compare; exits with 1 where a step fails."""
    with serving() as url, EdgeClient(url) as client:
        for file, prompt in ASKED:
            _ask(client, FOLDER / file, prompt)
        print("\nThe same picture in other formats, as good as fits into the bytes of ours:")
        for file in dict.fromkeys(file for file, _ in ASKED):
            _compare(client, FOLDER / file)


def _ask(client: EdgeClient, path: Path, prompt: str) -> None:
    start = time.perf_counter()
    picture = fit(load(path), client.resolution, client.bundle.manifest.resolution)
    analysed = client.encoder.analyse(picture)
    stream = analysed.code(client.bundle.manifest.quality)
    coded = time.perf_counter()
    answer = client.submit(Query(stream.to_bytes(), prompt))
    image, server = answer.image, answer.timings_ms
    print(f"\n{path.name}: {prompt}")
    print(f"  answer    {answer.answer}   ({answer.model}, which saw the {answer.view})")
    print(f"  stream    {image.bytes} bytes, {image.bpp:.3f} bpp, quality {stream.quality:g}")
    steps = ", ".join(f"{name} {ms:.0f}" for name, ms in analysed.timings_ms.items())
    print(f"  edge      {1000 * (coded - start):.0f} ms with loading: {steps}")
    print(
        f"  server    {server.total:.0f} ms: decode {server.decode:.0f}, "
        f"vision {server.vision:.0f}, generate {server.generate:.0f}"
    )


def _compare(client: EdgeClient, path: Path) -> None:
    picture = fit(load(path), client.resolution, client.bundle.manifest.resolution)
    size = len(client.encode(picture).to_bytes())
    original = path.stat().st_size
    pixels = picture.shape[0] * picture.shape[1]
    print(
        f"  {path.name}, {original} bytes as PNG: ours {size} bytes ({8 * size / pixels:.3f} bpp)"
    )
    for name, options in OTHERS.items():
        smallest, found = _best_within(picture, name, options, size)
        bpp = 8 * len(found) / pixels
        if smallest > size:
            print(
                f"    {name}: cannot go that low, its smallest is {smallest} bytes ({bpp:.3f} bpp)"
            )
        else:
            psnr = _psnr(picture, found)
            print(f"    {name}: {len(found)} bytes ({bpp:.3f} bpp), PSNR {psnr:.1f} dB")


def _best_within(
    picture: Picture, name: str, options: dict[str, object], size: int
) -> tuple[int, bytes]:
    """Smallest size of a format, and its best file of at most `size` bytes (else the smallest)."""
    smallest, best = 0, b""
    for quality in range(0, 100, 2):
        out = io.BytesIO()
        Image.fromarray(picture).save(out, name, quality=quality, **options)
        smallest = smallest or len(out.getvalue())
        if not best or len(out.getvalue()) <= size:
            best = out.getvalue()
        else:
            break
    return smallest, best


def _psnr(picture: Picture, data: bytes) -> float:
    with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
        decoded = np.asarray(image.convert("RGB")).astype(np.float64)
    return float(10 * np.log10(255**2 / np.square(decoded - picture).mean()))


@contextmanager
def serving(quiet: bool = False) -> Iterator[str]:
    """A server process on a free port of loopback; stopped at the end, whatever happens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "cloud_server", "serve", "--port", str(port)]
    environment = {**os.environ, "COTAM_LOG_LEVEL": "warning", "HF_HUB_OFFLINE": "1"}
    if not quiet:
        print(f"starting {' '.join(command[1:])}")
    process = subprocess.Popen(command, env=environment)
    try:
        seconds = _wait(url, process)
        if not quiet:
            print(f"ready after {seconds:.1f} s")
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> float:
    start = time.monotonic()
    while time.monotonic() - start < START_SECONDS:
        if process.poll() is not None:
            sys.exit(f"the server stopped with exit code {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return time.monotonic() - start
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"the server was not ready after {START_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
