"""Any mode in which Pillow hands a picture over, to u8 sRGB.

Colours go through the embedded profile, transparency lies on white. Grey of more than 8 bits has no
white of its own: see `_Deep`.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_BAND: Final = 1 << 18  # pixels that are converted at a time
_SAMPLE: Final = 1 << 14  # values a band at most that tell the range of a deep picture
_OUTLIERS: Final = 0.001  # of the values at either end that do not count for it
_FULL_SCALES: Final = (255.0, 65_535.0, 4_294_967_295.0)

_TIFF_BITS: Final = 258
_TIFF_PHOTOMETRIC: Final = 262
_TIFF_SAMPLE_FORMAT: Final = 339
_TIFF_NO_DATA: Final = 42_113  # GDAL's: the value, as text, of places that were not measured


def to_srgb(image: Image.Image, shrink: int = 1) -> NDArray[np.uint8]:
    """The pixels u8 [ceil(H / shrink), ceil(W / shrink), 3] of a picture of any mode.

    shrink: pixels a side of the squares that become their mean. In bands: beside Pillow's own copy
    of the picture there is one of what is returned, and no other.
    """
    image.load()
    convert = _Deep(image) if image.mode.startswith(("I", "F")) else _Colours(image)
    width, height = image.size
    rows = max(1, _BAND // width // shrink) * shrink
    picture = np.empty((-(-height // shrink), -(-width // shrink), 3), np.uint8)
    for top in range(0, height, rows):
        band = convert(image.crop((0, top, width, min(height, top + rows))))
        if shrink > 1:
            band = band.reduce(shrink)
        picture[top // shrink : top // shrink + band.height] = np.asarray(band)
    return picture


class _Colours:
    """Bands of a picture of 8 bits or less a channel to RGB."""

    def __init__(self, image: Image.Image) -> None:
        self._profile = image.info.get("icc_profile")
        self._transforms: dict[str, ImageCms.ImageCmsTransform | None] = {}

    def __call__(self, band: Image.Image) -> Image.Image:
        alpha = None
        if band.has_transparency_data:
            band = _with_alpha(band)
            alpha = band.getchannel("A")
            band = band.getchannel("L") if band.mode == "LA" else band.convert("RGB")
        elif band.mode == "1":
            band = band.convert("L")
        elif band.mode in ("P", "RGBX"):
            band = band.convert("RGB")
        transform = self._transform(band.mode)
        if transform is not None:
            band = ImageCms.applyTransform(band, transform) or band
        band = band.convert("RGB")
        if alpha is None:
            return band
        return Image.composite(band, Image.new("RGB", band.size, "white"), alpha)

    def _transform(self, mode: str) -> ImageCms.ImageCmsTransform | None:
        """What makes the profile's colours sRGB; a broken one is ignored, as browsers do."""
        if not self._profile or mode not in ("L", "RGB", "CMYK"):
            return None
        if mode not in self._transforms:
            try:
                source = ImageCms.ImageCmsProfile(io.BytesIO(self._profile))
                target = ImageCms.createProfile("sRGB")
                transform = ImageCms.buildTransform(source, target, mode, "RGB")
            except (ImageCms.PyCMSError, OSError):
                transform = None
            self._transforms[mode] = transform
        return self._transforms[mode]


def _with_alpha(band: Image.Image) -> Image.Image:
    """LA or RGBA of a band that has transparency in any form."""
    if band.mode in ("La", "RGBa"):  # colours that are multiplied with it
        return band.convert(band.mode.upper())
    return band if band.mode in ("LA", "RGBA") else band.convert("RGBA")


class _Deep:
    """Bands of grey of 16 bits, 32 bits or floats to RGB.

    White is 65535 in 16 bits, 4095 in 12. Elsewhere files do not say it: it is 1 for floats up to
    1; else 255, 65535 or 2^32 - 1, where the greatest value reaches the upper half of that; else
    the greatest value. Black is 0, or the least value where that is negative. One value in a
    thousand at either end does not count, so that a hot pixel turns nothing black. What is not a
    number, or was not measured, is black.
    """

    def __init__(self, image: Image.Image) -> None:
        tags: Any = getattr(image, "tag_v2", {})
        self._bits = tags.get(_TIFF_BITS, (16,))[0]
        unsigned = tags.get(_TIFF_SAMPLE_FORMAT, (1,)) == (1,)
        self._unsigned = image.mode == "I" and self._bits == 32 and unsigned
        self._inverted = tags.get(_TIFF_PHOTOMETRIC) == 0  # Pillow inverts 8 bits alone
        self._no_data = _number(tags.get(_TIFF_NO_DATA))
        self._transparent = image.info.get("transparency")
        self._black, self._white = self._range(image)

    def __call__(self, band: Image.Image) -> Image.Image:
        values = self._values(band)
        shares = (values - self._black) / (self._white - self._black)
        if self._inverted:
            shares = 1 - shares
        grey = np.nan_to_num(255 * shares + 0.5, nan=0.0).clip(0, 255).astype(np.uint8)
        if isinstance(self._transparent, int):
            grey[values == self._transparent] = 255
        return Image.fromarray(grey).convert("RGB")

    def _values(self, band: Image.Image) -> NDArray[np.float64]:
        raw = np.asarray(band)
        values = (raw.view(np.uint32) if self._unsigned else raw).astype(np.float64)
        if self._no_data is not None:
            values[values == self._no_data] = np.nan
        return values

    def _range(self, image: Image.Image) -> tuple[float, float]:
        """The values that become black and white."""
        if image.mode != "F" and (image.mode != "I" or image.format in ("PNG", "PPM")):
            return 0.0, 2.0**self._bits - 1
        sample = self._sample(image)
        if not sample.size:
            return 0.0, 1.0
        low, high = np.quantile(sample, (_OUTLIERS, 1 - _OUTLIERS), method="nearest").tolist()
        if low < 0:
            return low, high if high > low else low + 1.0
        if high <= 1.0:
            return 0.0, 1.0
        return 0.0, next((full for full in _FULL_SCALES if full / 2 <= high <= full), high)

    def _sample(self, image: Image.Image) -> NDArray[np.float64]:
        """Finite values from everywhere in a picture."""
        width, height = image.size
        rows = max(1, _BAND // width)
        samples = []
        for top in range(0, height, rows):
            band = image.crop((0, top, width, min(height, top + rows)))
            step = 1 + int((band.width * band.height / _SAMPLE) ** 0.5)
            samples.append(self._values(band)[::step, ::step].ravel())
        sample = np.concatenate(samples)
        finite: NDArray[np.float64] = sample[np.isfinite(sample)]
        return finite


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None
