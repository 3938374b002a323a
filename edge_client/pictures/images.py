"""Pictures as the codec takes them: u8 [H, W, 3] sRGB, upright, no metadata, bounded in size.

Sizes are read from the header and checked before a pixel is decoded. Nothing but pixels leaves
this module, so no metadata (places, names) can reach a stream.
"""

from __future__ import annotations

import importlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from shared.errors import CotamError, PictureTooLarge, PictureUnreadable, UsageError

MAX_PIXELS: Final = 100_000_000
MAX_SIDE: Final = 65_535
MAX_FILE_BYTES: Final = 256 << 20  # of a picture that comes through a pipe

_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc"})

_EXIF_ORIENTATION: Final = 0x0112
_BAND: Final = 256  # rows of a picture that are converted at a time
_FILTERS: Final = threading.Lock()

logger = logging.getLogger("edge_client")

Picture = NDArray[np.uint8]
Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any]
Resolution = int | Literal["model", "native"]


def load(source: Source, name: str = "", longest: int | None = None) -> Picture:
    """A picture u8 [H, W, 3] in sRGB from a path, bytes, an open file, a PIL image or an array.

    Arrays are u8 or u16 [H, W], [H, W, 3] or [H, W, 4]. EXIF orientation is applied, the colour
    profile converted to sRGB, 16 bits scaled to 8, alpha laid on white; of an animation the first
    frame is taken, with a warning on the logger of this package. `name` is what messages call it.
    longest: the long side that is wanted in the end; a JPEG may then come smaller than it is (but
    at least twice as large as wanted), which is quicker to decode.
    Raises PictureUnreadable, PictureTooLarge.
    """
    if isinstance(source, np.ndarray):
        return _upright(_of_array(source))
    if isinstance(source, Image.Image):
        _check_size(source, name or "the picture")
        return _upright(source)
    name = name or (str(source) if isinstance(source, (str, Path)) else "the picture")
    try:
        with _opened(source, name) as file, _open(file, name) as image:
            _check_size(image, name)
            _tell_of_frames(image, name)
            if longest is not None:
                image.draft(None, (2 * longest, 2 * longest))
            return _upright(image)
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(
            f"{name} has more pixels than the limit of {MAX_PIXELS}", hint="scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise PictureUnreadable(
            f"{name} is not a picture in a format that can be read",
            hint="JPEG, PNG, WebP, AVIF, GIF, TIFF and BMP can; HEIC with the extra cotam[heic]",
        ) from error
    except CotamError:
        raise
    except Exception as error:  # the readers of broken files know a dozen ways to fail
        raise PictureUnreadable(f"{name} cannot be decoded: {error}") from error


def fit(picture: Picture, resolution: Resolution, model: int) -> Picture:
    """Scale a picture down so that its long side is at most `resolution` pixels.

    "model" is what the bundle's language model can use (`model` pixels), "native" keeps every
    pixel. The aspect is kept; a picture is never scaled up.
    """
    longest = long_side(resolution, model)
    height, width = picture.shape[:2]
    if longest is None or max(width, height) <= longest:
        return picture
    return scale(picture, *fitted(width, height, longest))


def long_side(resolution: Resolution, model: int) -> int | None:
    """Most pixels of the long side at a resolution; None: no bound. Raises UsageError."""
    if resolution == "native":
        return None
    longest = model if resolution == "model" else resolution
    if longest < 1:
        raise UsageError(f"the resolution must be at least 1 pixel, not {longest}")
    return longest


def fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height after scaling the long side to `longest` pixels, aspect kept."""
    ratio = longest / max(width, height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def scale(picture: Picture, width: int, height: int) -> Picture:
    """The picture resized with a Lanczos filter that averages what it shrinks."""
    if picture.shape[:2] == (height, width):
        return picture
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def _opened(source: str | Path | bytes | BinaryIO, name: str) -> BinaryIO:
    """A seekable file of the source's bytes, of which there is at least one."""
    if isinstance(source, (str, Path)):
        try:
            file: BinaryIO = Path(source).open("rb")  # noqa: SIM115 -- the caller closes it
        except FileNotFoundError as error:
            raise PictureUnreadable(f"{name} does not exist", hint="check the path") from error
        except IsADirectoryError as error:
            raise PictureUnreadable(f"{name} is a folder, not a picture") from error
        except OSError as error:
            raise PictureUnreadable(f"{name} cannot be read: {error.strerror}") from error
    elif isinstance(source, bytes):
        file = io.BytesIO(source)
    else:
        data = source.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise PictureTooLarge(f"{name} has over {MAX_FILE_BYTES} bytes")
        file = io.BytesIO(data)
    if not file.read(1):
        file.close()
        raise PictureUnreadable(f"{name} is empty: it has no bytes")
    file.seek(0)
    return file


def _open(file: BinaryIO, name: str) -> Image.Image:
    """The picture in a file, with the readers of the optional extras where it needs one."""
    head = file.read(12)
    file.seek(0)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _need("pillow_heif", "register_heif_opener", f"{name} is HEIC", "cotam[heic]")
    elif head[:2] == b"\xff\x0a" or head == b"\0\0\0\x0cJXL \r\n\x87\n":
        _need("pillow_jxl", "", f"{name} is JPEG XL", "pillow-jxl-plugin")
    with _quiet():
        return Image.open(file)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of Pillow's: of sizes, which we check, and of metadata, which we drop.

    Under a lock, for filters of warnings belong to the whole process.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _need(module: str, register: str, what: str, extra: str) -> None:
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise PictureUnreadable(
            f"{what}, for which a reader is missing", hint=f"pip install '{extra}'"
        ) from error
    if register:
        getattr(plugin, register)()


def _tell_of_frames(image: Image.Image, name: str) -> None:
    # A phone's JPEG (MPO) often holds a preview or a depth map behind its picture: no news.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        logger.warning("%s has several frames: the first is taken", name)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureTooLarge(
            f"{name} has {width}x{height} pixels, over the limit of {MAX_PIXELS} "
            f"({MAX_SIDE} a side)",
            hint="scale it down first",
        )


def _upright(image: Image.Image) -> Picture:
    """The pixels of an opened picture, converted in bands: what is whole is there once."""
    image.load()
    orientation = _orientation(image)
    to_srgb = _srgb_transform(image)
    if image.mode.startswith(("I", "F")):
        image = _from_deep(image)
    width, height = image.size
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND):
        band = image.crop((0, top, width, min(height, top + _BAND)))
        if to_srgb is not None:
            band = ImageCms.applyTransform(band, to_srgb) or band
        picture[top : top + _BAND] = _flatten(band)
    return _turned(picture, orientation)


def _turned(picture: Picture, orientation: Any) -> Picture:
    """A view of the picture, upright by EXIF's orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return picture


def _orientation(image: Image.Image) -> Any:
    """EXIF's orientation, 1 where there is none of use."""
    with _quiet():
        try:
            return image.getexif().get(_EXIF_ORIENTATION, 1)
        except Exception:  # broken metadata does not make a picture unreadable
            return 1


def _srgb_transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What makes the embedded profile's colours sRGB; a broken one is ignored, as browsers do."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.buildTransform(source, target, image.mode, mode)
    except (ImageCms.PyCMSError, OSError):
        return None


def _flatten(image: Image.Image) -> Picture:
    """Any mode of 8 bits to u8 [H, W, 3], transparency on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return np.asarray(image.convert("RGB"))


def _from_deep(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, 32 bits or floats to 8 bits.

    White is 65535 in 16 bits; elsewhere the least of 1, 255, 65535 that no value exceeds.
    """
    values = np.asarray(image).astype(np.float64)
    most = values.max(initial=0.0)
    white = 65_535.0
    if image.mode in ("I", "F") and most <= 255.0:
        white = 1.0 if most <= 1.0 and image.mode == "F" else 255.0
    return Image.fromarray(np.clip(values * (255.0 / white) + 0.5, 0, 255).astype(np.uint8))


def _of_array(array: NDArray[Any]) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype not in (np.uint8, np.uint16) or not shape_ok or 0 in array.shape:
        raise PictureUnreadable(
            f"an array of {array.dtype} {list(array.shape)} is not a picture",
            hint="u8 or u16, [H, W], [H, W, 3] or [H, W, 4]",
        )
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    image = Image.fromarray(array)
    _check_size(image, "the array")
    return image
