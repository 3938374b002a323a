"""A camera that is asked about again and again: of each frame is sent what changed.

frame --against what the server keeps--> clip of one frame --POST, keep, continues--> answer, its id
                         ^                                                               |
                         `------------------- what it knows now -------------------------'

What was not answered did not happen: the next frame goes on from the last one that was. Where the
server has that no more, a keyframe is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_client.coding.coded_clip import CodedClip, SentFrame
from edge_client.coding.picture_coder import PictureCoder
from edge_client.pictures.images import Source
from shared.bitstream import Bitstream
from shared.errors import UsageError
from shared.frames import MAX_EVERY, Header, Writer

if TYPE_CHECKING:
    from edge_client.coding.clip_encoder import ClipEncoder, Coded
    from edge_client.coding.encoder import Analysed

TICKS: Final = 1000  # of a second


@dataclass(frozen=True)
class CameraFrame:
    """A frame of a camera, and its time in seconds, of any clock."""

    camera: Camera
    picture: Source
    time: float


@dataclass(frozen=True)
class _Looked:
    """A frame, as what goes on with `clips`."""

    frame: CameraFrame
    clips: ClipEncoder
    analysed: Analysed


class Camera:
    """What a server keeps of a camera. Its frames are asked about one by one, in their order.

    image_id: under which the last one is kept; empty where the next is a keyframe.
    """

    def __init__(self) -> None:
        self.image_id = ""
        self._clips: ClipEncoder | None = None
        self._sent: tuple[_Looked, Coded] | None = None
        self._time = 0.0
        self._looked: _Looked | None = None

    def frame(self, picture: Source, time: float) -> CameraFrame:
        """A frame to be asked about, as a client's `ask` takes it; times rise."""
        return CameraFrame(self, picture, time)

    def has_changed(self, pictures: PictureCoder, frame: CameraFrame, name: str = "") -> bool:
        """Whether it shows another thing than the one that was answered last. Raises as `code`."""
        looked = self._look(pictures, frame, name)
        return bool(looked.clips.moved(looked.analysed).any())

    def code(self, pictures: PictureCoder, frame: CameraFrame, name: str = "") -> CodedClip:
        """The clip of a frame: what changed since the one that was answered last, or a keyframe.

        Raises as `PictureCoder.encode`, and UsageError for a budget.
        """
        looked = self._look(pictures, frame, name)
        clips, analysed, header = looked.clips, looked.analysed, looked.clips.header
        quality = pictures.quality
        code = round(20 * (pictures.bundle.manifest.quality if quality is None else quality))
        coded = clips.code(analysed, clips.moved(analysed), code)
        is_key = isinstance(coded.body, Bitstream)
        time = 0 if is_key else max(1, round(TICKS * (frame.time - self._time)))
        writer = Writer(header, None if is_key else clips.check)
        data = writer.add(coded.body, time)
        self._sent = looked, coded
        sent = SentFrame(time, len(data), is_key, float(coded.moved.mean()))
        return CodedClip(header, writer.head + data, (sent,))

    def answered(self, image_id: str) -> None:
        """Go on from the frame that was coded last: the server keeps it under that id."""
        sent, self._sent = self._sent, None
        if sent is None or not image_id:
            self.forget()
            return
        looked, coded = sent
        looked.clips.take(looked.analysed, coded)
        self._clips, self._time, self.image_id = looked.clips, looked.frame.time, image_id
        self._looked = None

    def forget(self) -> None:
        """Send a keyframe next."""
        self.image_id, self._clips, self._sent, self._looked = "", None, None, None

    def _look(self, pictures: PictureCoder, frame: CameraFrame, name: str) -> _Looked:
        """The transform of a frame; where its size or codec is another, nothing is gone on from."""
        from edge_client.coding.clip_encoder import ClipEncoder

        if pictures.budget is not None:
            raise UsageError("a camera's frames take no --budget", hint="--quality sets their size")
        if self._looked is not None and self._looked.frame is frame and self._clips is not None:
            return self._looked
        encoder = pictures.encoder
        picture = pictures.pixels(frame.picture, name=name)
        height, width = picture.shape[:2]
        header = Header(encoder.bundle.codec_id, width, height, MAX_EVERY, TICKS)
        if self._clips is None or self._clips.header != header:
            self.forget()
        clips = self._clips or ClipEncoder(encoder, header, pictures.guidance)
        self._looked = _Looked(frame, clips, clips.analyse(picture))
        return self._looked
