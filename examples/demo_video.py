"""The demonstration of clips: a camera that stands still, what is sent when, and an answer.

python -m examples.demo_video [FOLDER]

FOLDER (default: demo-video) gets the frames and a picture of what was sent.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from PIL import Image

from edge_client import EdgeClient
from edge_client.coding.clip_coder import ClipCoder, ClipOptions, ClipSource
from edge_client.coding.clip_sheet import Sheet
from edge_client.pictures.clips import ALL, Pick
from edge_client.pictures.images import load
from examples.serving import serving
from scenes import Backgrounds
from scenes.motion import render_track
from shared.errors import CotamError
from shared.files import write_named

CLIP: Final = 5
FRAMES: Final = 12
SHOWN: Final = 3
"""Frames in the context of the small model."""
QUESTION: Final = "how many triangles are there?"


def main() -> None:
    """The demonstration; one line where a step fails."""
    try:
        _demonstrate(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-video"))
    except CotamError as error:
        sys.exit(f"the demonstration stopped: {error}")


def _demonstrate(folder: Path) -> None:
    frames = folder / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    track = render_track("test", CLIP, Backgrounds.builtin(), frames=FRAMES)
    for number, picture in enumerate(track.pictures):
        Image.fromarray(picture).save(frames / f"{number:03d}.png")
    print("Starting a server on this machine; it loads PyTorch and a small language model ...")
    with serving() as url, EdgeClient(url) as client:
        sheet = Sheet()
        coded = ClipCoder(client, ClipOptions(ALL), sheet).encode(str(frames))
        place = folder / "sent.png"
        write_named(place, sheet.png())
        print(f"\n{frames}: {coded.describe()}\n\n   time   bytes   of the picture")
        for frame in coded.frames:
            seconds, share = frame.time / coded.header.ticks, 100 * frame.moved
            print(f"{seconds:5.1f} s  {frame.size:6}   {share:3.0f} %{'  key' * frame.is_key}")
        alone = sum(len(client.encode(picture).to_bytes()) for picture in track.pictures)
        print(f"\neach frame as a stream of its own: {alone} bytes; {place} shows what was sent")
        answer = client.ask(ClipSource(str(frames), ClipOptions(Pick(SHOWN))), QUESTION)
        size = sum(image.bytes for image in answer.images)
        print(f"\n{SHOWN} frames in {size} bytes, {QUESTION} -> {answer.answer}")
        last = client.ask(load(frames / f"{FRAMES - 1:03d}.png"), QUESTION)
        print(f"the last frame alone: {last.answer}")
        print("(the small model has learnt single pictures; others are shown all frames as well)")


if __name__ == "__main__":
    main()
