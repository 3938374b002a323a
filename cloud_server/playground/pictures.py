"""Pictures that the playground takes and shows: small PNGs in, PNGs and JPEGs out."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import PictureTooLarge, PictureUnreadable

Picture = NDArray[np.uint8]

BEST_JPEG: Final = 95  # above it, JPEG spends bytes on its own rounding
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def read_png(file: bytes, side: int) -> Picture:
    """A picture u8 [H, W, 3] of at most `side` pixels a side; transparency is laid on white.

    The page scales what it was given before it sends it, so nothing larger need be taken. Raises
    PictureUnreadable, PictureTooLarge; sizes are looked at before a pixel is decoded.
    """
    if not file.startswith(_SIGNATURE):
        raise PictureUnreadable("the picture is no PNG", hint="the page sends PNG")
    try:
        with Image.open(io.BytesIO(file), formats=("PNG",)) as image:
            if max(image.size) > side:
                width, height = image.size
                raise PictureTooLarge(
                    f"the picture has {width}x{height} pixels, over {side} a side",
                    hint="scale it down first",
                )
            rgba = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureUnreadable("the picture cannot be decoded") from error
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def psnr(decoded: Picture, original: Picture) -> float:
    """Peak signal-to-noise ratio in dB; 99 for equal pictures."""
    error = float(np.mean((decoded.astype(np.float64) - original) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def jpeg_as_good(picture: Picture, level: float) -> bytes | None:
    """The smallest JPEG with at least `level` dB; None where quality 95 does not reach it."""
    low, high = 0, BEST_JPEG + 1
    best = None
    while high - low > 1:
        quality = (low + high) // 2
        file = _jpeg(picture, quality)
        if psnr(pixels(file), picture) >= level:
            high, best = quality, file
        else:
            low = quality
    return best


def jpeg_as_small(picture: Picture, size: int) -> bytes:
    """The best JPEG of at most `size` bytes, or the smallest that there is where none is."""
    low, high = 1, BEST_JPEG + 1
    best = _jpeg(picture, low)
    while high - low > 1:
        quality = (low + high) // 2
        file = _jpeg(picture, quality)
        if len(file) <= size:
            low, best = quality, file
        else:
            high = quality
    return best


def pixels(file: bytes) -> Picture:
    """The picture u8 [H, W, 3] of a JPEG that was made here."""
    with Image.open(io.BytesIO(file), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def _jpeg(picture: Picture, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=quality, optimize=True)
    return file.getvalue()
