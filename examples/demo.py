"""The demonstration: a real server on loopback, real pictures, real bitstreams, real answers.

python -m examples.demo
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from cloud_server import decode
from edge_client import EdgeClient
from edge_client.pictures.images import Picture, fit, load
from edge_client.server.query import Query
from examples.receipt import read_receipt
from examples.serving import serving
from shared.errors import CotamError
from shared.libraries import PICTURE_FORMATS

FOLDER: Final = Path(__file__).parent
ASKED: Final = {
    "street.png": ("how many cars are there?", "what colour are the cars?"),
    "beach.png": ("how many people are there?",),
    "field.png": ("what does the sign say?", "what colour is the car?"),
}
OTHERS: Final[dict[str, dict[str, object]]] = {
    "AVIF": {"speed": 4},
    "WebP": {"method": 6},
    "JPEG": {"optimize": True},
}


def main() -> None:
    """The demonstration; one line where a step fails."""
    try:
        _demonstrate()
    except CotamError as error:
        sys.exit(f"the demonstration stopped: {error}")


def _demonstrate() -> None:
    print("Starting a server on this machine; it loads PyTorch and a small language model ...")
    start = time.perf_counter()
    streams = {}
    with serving() as url, EdgeClient(url) as client:
        print(f"ready after {time.perf_counter() - start:.0f} s: {url}")
        for file, prompts in ASKED.items():
            picture = fit(load(FOLDER / file), client.resolution, client.bundle.manifest.resolution)
            streams[file] = picture, _ask(client, file, picture, prompts)
    print("\nWhat other formats make of these pictures in as many bytes (PSNR in dB):\n")
    for file, (picture, stream) in streams.items():
        _compare(file, picture, stream)
    _read_print()
    print(_what_next())


def _read_print() -> None:
    """A second server, whose model reads print, where its package is there."""
    if importlib.util.find_spec("rapidocr_onnxruntime") is None:
        print("\nReal print is read by `--mllm rapidocr`. To see it here, and run this again:\n")
        print(f"  {_bin()}/pip install 'cotam[reading]'")
        return
    with serving("--mllm", "rapidocr") as url:
        read_receipt(url)


def _ask(client: EdgeClient, file: str, picture: Picture, prompts: tuple[str, ...]) -> bytes:
    """Code a picture, ask about it, print; returns its stream."""
    client.encoder  # noqa: B018 -- its networks are loaded here, outside of the time below
    start = time.perf_counter()
    stream = client.encode(picture).to_bytes()
    coding = 1000 * (time.perf_counter() - start)
    height, width = picture.shape[:2]
    size = (FOLDER / file).stat().st_size
    print(f"\n{file}, {width}x{height}, {size:,} bytes as PNG, travels as {len(stream):,} bytes:")
    truth = _right_answers(file)
    milliseconds = []
    for prompt in prompts:
        answer = client.submit(Query(stream, prompt))
        milliseconds.append(answer.timings_ms.total)
        right = truth.get(prompt) in (None, answer.answer)
        note = "" if right else f"   (in fact: {truth[prompt]})"
        print(f"  {prompt:<28} {answer.answer}{note}")
    answered = ", ".join(f"{ms:.0f}" for ms in milliseconds)
    print(f"  coded here in {coding:.0f} ms, answered by the server in {answered} ms")
    return stream


def _right_answers(file: str) -> dict[str, str]:
    questions = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))
    return {question["prompt"]: question["answer"] for question in questions[Path(file).stem]}


def _compare(file: str, picture: Picture, stream: bytes) -> None:
    rows = [("CoTAM", len(stream), f"{_psnr(picture, decode(stream)):.1f} dB")]
    for name, options in OTHERS.items():
        smallest, best = _best_within(picture, name, options, len(stream))
        image = Image.open(io.BytesIO(best), formats=PICTURE_FORMATS)
        note = ", and cannot do with fewer bytes" if smallest > len(stream) else ""
        rows.append((name, len(best), f"{_psnr(picture, image):.1f} dB{note}"))
    for place, (name, size, note) in zip([file, *[""] * len(OTHERS)], rows, strict=True):
        print(f"  {place:<12} {name:<6} {size:>6,} B   {note}")


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


def _psnr(picture: Picture, image: Image.Image) -> float:
    decoded = np.asarray(image.convert("RGB")).astype(np.float64)
    return float(10 * np.log10(255**2 / np.square(decoded - picture).mean()))


def _bin() -> str:
    """The folder of this environment's commands, as one would type it here."""
    return os.path.relpath(Path(sys.executable).parent)


def _what_next() -> str:
    bin_ = _bin()
    return f"""
The model in the box knows drawn scenes such as these, and no photographs. What to try next:

  {bin_}/cloud_server serve        (a server; http://127.0.0.1:8000/ is a page for trying)
  {bin_}/edge_client send examples/street.png "is there a dog?"
  {bin_}/cloud_server serve --mllm llava-hf/llava-1.5-7b-hf     (for photographs)"""


if __name__ == "__main__":
    main()
