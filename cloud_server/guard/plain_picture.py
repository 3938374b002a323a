"""Ordinary pictures, PNG, JPEG or WebP, where a server takes them (`COTAM_PLAIN_PICTURES`).

    file --kind_of--> size of its header, checked --process of its own--> pixels u8 [H, W, 3]

As a program, `python -m cloud_server.guard.plain_picture MOST_PIXELS` is that process: a file on
standard input, width and height (u32 le each) and the pixels on standard output. It may use 2 GiB
and ten seconds of a processor.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cloud_server.guard.processes import Processes
from shared.errors import EXIT_CODE, PictureError, PictureTooLarge, PictureUnreadable

FORMATS: Final = ("PNG", "JPEG", "WEBP")
DATA_URLS: Final = tuple(f"data:image/{kind.lower()};base64," for kind in FORMATS)
_SIDE_BYTES: Final = 4
_MOST_BYTES: Final = 2 << 30
_MOST_SECONDS: Final = 10


@dataclass(frozen=True)
class PlainPicture:
    """pixels: u8 [H, W, 3], upright, alpha on white. kind: png, jpeg or webp."""

    pixels: NDArray[np.uint8]
    kind: str


def kind_of(file: bytes) -> str:
    """The format that a file begins as, of `FORMATS`; empty where it is none."""
    if file.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if file.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if file.startswith(b"RIFF") and file[8:12] == b"WEBP":
        return "WEBP"
    return ""


async def read_plain(
    processes: Processes, file: bytes, most_pixels: int, timeout_s: float
) -> PlainPicture:
    """The picture of a file.

    Raises PictureUnreadable, PictureTooLarge for more pixels, DeadlineExceeded.
    """
    kind = kind_of(file)
    command = [sys.executable, "-m", __name__, str(most_pixels)]
    made = await processes.run(command, file, timeout_s)
    width, height = (int.from_bytes(made[at : at + _SIDE_BYTES], "little") for at in (0, 4))
    if not made[2 * _SIDE_BYTES :]:
        raise PictureTooLarge(
            f"the picture has {width}x{height} pixels, over the limit of {most_pixels}",
            hint="send a smaller picture",
        )
    pixels = np.frombuffer(made, np.uint8, offset=2 * _SIDE_BYTES).reshape(height, width, 3)
    return PlainPicture(pixels, kind.lower())


def decode(file: bytes, most_pixels: int) -> tuple[int, int, bytes]:
    """Width, height and RGB bytes of a file; no bytes where it has more pixels.

    Raises PictureUnreadable.
    """
    kind = kind_of(file)
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours
    try:
        with Image.open(io.BytesIO(file), formats=(kind,) if kind else ()) as image:
            if image.width * image.height > most_pixels:
                return image.width, image.height, b""
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # grey of 16 bits, which `convert` would cut off
                upright = upright.point(lambda shade: shade / 256).convert("L")
            if upright.has_transparency_data:
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright.convert("RGBA"))
            return upright.width, upright.height, upright.convert("RGB").tobytes()
    except Exception as error:  # the readers of broken files know a dozen ways to fail
        raise PictureUnreadable(f"the picture cannot be decoded: {error}") from error


def main() -> None:
    """Entry of the process."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    try:
        width, height, pixels = decode(sys.stdin.buffer.read(), int(sys.argv[1]))
    except PictureUnreadable as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_CODE[PictureError]) from error
    for side in (width, height):
        sys.stdout.buffer.write(side.to_bytes(_SIDE_BYTES, "little"))
    sys.stdout.buffer.write(pixels)


if __name__ == "__main__":
    main()
