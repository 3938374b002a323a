"""What a question may be about: a picture, or the stream of one or of a clip, sent as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from edge_client.coding.clip_coder import ClipSource
from edge_client.coding.coded_clip import CodedClip
from edge_client.pictures.download import download, is_url
from edge_client.pictures.images import Source, read_file
from edge_client.server.camera import CameraFrame
from shared.bitstream import MAGIC, SUFFIX, Bitstream
from shared.errors import UsageError
from shared.frames import MAGIC as CLIP_MAGIC

_MAGICS: Final = (MAGIC, CLIP_MAGIC)

Stream = Bitstream | CodedClip
Subject = Source | ClipSource | CameraFrame | Stream


def settle(subject: Subject, name: str) -> Subject:
    """A stream where the subject is one; else a picture that can be read more than once.

    Streams are known by their first bytes, and files also by the name `*.cotam`. Raises
    StreamError where one is damaged, PictureTooLarge for a pipe without an end, PictureUnreadable
    for a URL that cannot be fetched.
    """
    if is_url(subject):
        return _known(download(str(subject)))
    if isinstance(subject, (str, Path)):
        path = Path(subject)
        try:
            with path.open("rb") as file:
                if file.seekable():
                    is_stream = path.suffix == SUFFIX or file.read(len(MAGIC)) in _MAGICS
                    if not is_stream:
                        return subject  # left where it is until it is coded
                    file.seek(0)
                data = read_file(file, name or str(path))
        except (OSError, ValueError) as error:
            if path.suffix == SUFFIX:
                raise UsageError(f"{path} cannot be read: {error}") from error
            return subject  # whoever opens it as a picture says what is wrong
        return Bitstream.from_bytes(data) if path.suffix == SUFFIX else _known(data)
    if isinstance(subject, (bytes, np.ndarray, Image.Image)):
        return _known(subject)
    if isinstance(subject, (ClipSource, CameraFrame, Bitstream, CodedClip)):
        return subject
    return _known(read_file(subject, name))


def _known(subject: Subject) -> Subject:
    if isinstance(subject, bytes) and subject.startswith(MAGIC):
        return Bitstream.from_bytes(subject)
    if isinstance(subject, bytes) and subject.startswith(CLIP_MAGIC):
        return CodedClip.of(subject)
    return subject
