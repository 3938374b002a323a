"""What was sent when: the frames of a clip side by side, grey where nothing was sent."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge_client.coding.clip_encoder import Coded
from edge_client.coding.coded_clip import SentFrame
from edge_client.guidance.overlay import png
from edge_client.pictures.clips import Shot
from edge_client.pictures.images import Picture, fit
from shared.level_map import STRIDE

MOST: Final = 24  # frames of a sheet
ACROSS: Final = 4
SIDE: Final = 256  # pixels of a frame, at most
_LINE: Final = 26
_GAP: Final = 8


class Sheet:
    """Gathers frames as a `ClipCoder` makes them; of more than `MOST` the first are shown."""

    def __init__(self) -> None:
        self._tiles: list[tuple[Picture, str]] = []

    def __call__(self, shot: Shot, coded: Coded, sent: SentFrame) -> None:
        """Take the next frame."""
        if len(self._tiles) == MOST:
            return
        height, width = shot.picture.shape[:2]
        sent_here = coded.moved.repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width, np.newaxis]
        grey = shot.picture.mean(axis=2, keepdims=True) * 0.35 + 150
        shown = np.where(sent_here, shot.picture, grey).astype(np.uint8)
        kind = ", key" if sent.is_key else ""
        self._tiles.append((fit(shown, SIDE, SIDE), f"{shot.time:.1f} s: {sent.size} B{kind}"))

    def png(self) -> bytes:
        """The sheet as a PNG file, which says that it is a map."""
        height, width = self._tiles[0][0].shape[:2]
        across = min(ACROSS, len(self._tiles))
        down = math.ceil(len(self._tiles) / across)
        sheet = Image.new(
            "RGB", (across * (width + _GAP) - _GAP, down * (height + _LINE) + 4), "white"
        )
        canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
        for number, (tile, text) in enumerate(self._tiles):
            left, top = number % across * (width + _GAP), number // across * (height + _LINE)
            sheet.paste(Image.fromarray(tile), (left, top))
            canvas.text((left + 2, top + height + 3), text, (40, 40, 40), font)
        return png(np.asarray(sheet))
