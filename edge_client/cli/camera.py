"""Frames of `edge_client send --camera`: a device, a clip, or a folder into which pictures come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_client.cli import options
from edge_client.pictures.clips import Pick, shots
from edge_client.server.camera import Camera, CameraFrame

if TYPE_CHECKING:
    from edge_client.coding.picture_coder import PictureCoder

A_SECOND: Final = Pick(None, 1.0)


def camera_frames(
    source: str, frames: str | None, on_change: bool, pictures: PictureCoder
) -> Iterator[tuple[str, CameraFrame]]:
    """What messages call a frame, and the frame; one a second where `frames` says nothing.

    on_change: leave out those that show what was answered last. Raises as `shots`, `new_pictures`
    and `options.parse_frames`.
    """
    pick = A_SECOND if frames is None else options.parse_frames(frames)
    camera = Camera()
    for name, frame in _frames(camera, source, pick):
        if not on_change or camera.has_changed(pictures, frame, name):
            yield name, frame


def _frames(camera: Camera, source: str, pick: Pick) -> Iterator[tuple[str, CameraFrame]]:
    if Path(source).is_dir():
        from edge_client.pictures.watch import new_pictures

        for path, data in new_pictures(Path(source)):
            yield str(path), camera.frame(data, time.monotonic())
    else:
        for number, shot in enumerate(shots(source, pick, None)):
            yield f"{source}#{number}", camera.frame(shot.picture, shot.time)
