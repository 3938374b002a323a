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
from PIL import Image, UnidentifiedImageError

from edge_client.pictures.colours import to_srgb
from edge_client.pictures.download import download, is_url
from shared.errors import CotamError, PictureTooLarge, PictureUnreadable, UsageError
from shared.libraries import PICTURE_FORMATS

MAX_PIXELS: Final = 100_000_000
MAX_SIDE: Final = 65_535
MAX_FILE_BYTES: Final = 256 << 20  # of a picture that comes through a pipe

_HEIC_READER: Final = "pillow-heif"
_JXL_READER: Final = "pillow-jxl-plugin"
_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEAD: Final = 64  # bytes that tell what needs a reader of its own

_EXIF_ORIENTATION: Final = 0x0112
_FILTERS: Final = threading.Lock()

logger = logging.getLogger("edge_client")

Picture = NDArray[np.uint8]
Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any]
Resolution = int | Literal["model", "native"]


def load(source: Source, name: str = "", longest: int | None = None) -> Picture:
    """A picture u8 [H, W, 3] in sRGB from a path, a URL, bytes, an open file, a PIL image or an
    array.

    Arrays are u8 or u16 [H, W], [H, W, 3] or [H, W, 4]. EXIF orientation is applied, the colour
    profile converted to sRGB, deep grey scaled to 8 bits, alpha laid on white; of an animation the
    first frame is taken, with a warning on the logger of this package. `name` is what messages call
    it. longest: the long side that is wanted in the end; a picture may then come smaller than it
    is, but at least twice as large as wanted, which takes less time and memory.
    Raises PictureUnreadable, PictureTooLarge.
    """
    if isinstance(source, np.ndarray):
        return _upright(_of_array(source), longest)
    name = name or (str(source) if isinstance(source, (str, Path)) else "the picture")
    try:
        if isinstance(source, Image.Image):
            _check_size(source, name)
            return _upright(source, longest)
        with _opened(source, name) as file, _open(file, name) as image:
            _check_size(image, name)
            _tell_of_frames(image, name)
            if longest is not None:
                image.draft(None, (2 * longest, 2 * longest))
            return _upright(image, longest)
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(
            f"{name} has more pixels than the limit of {MAX_PIXELS}", hint="scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise PictureUnreadable(
            f"{name} is not a picture in a format that can be read",
            hint="JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP and PPM can; HEIC after: "
            f"pip install {_HEIC_READER}",
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


def read_file(file: BinaryIO, name: str) -> bytes:
    """All bytes of an open file. Raises PictureTooLarge."""
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise PictureTooLarge(f"{name or 'the picture'} has over {MAX_FILE_BYTES} bytes")
    return data


def _opened(source: str | Path | bytes | BinaryIO, name: str) -> BinaryIO:
    """A seekable file of the source's bytes, of which there is at least one."""
    if is_url(source):
        source = download(str(source))
    if isinstance(source, (str, Path)):
        try:
            file: BinaryIO = Path(source).open("rb")  # noqa: SIM115 -- the caller closes it
        except FileNotFoundError as error:
            raise PictureUnreadable(f"{name} does not exist", hint="check the path") from error
        except IsADirectoryError as error:
            raise PictureUnreadable(f"{name} is a folder, not a picture") from error
        except OSError as error:
            raise PictureUnreadable(f"{name} cannot be read: {error.strerror}") from error
        if not file.seekable():  # a named pipe, or what a shell writes as <(...)
            with file as pipe:
                file = io.BytesIO(read_file(pipe, name))
    elif isinstance(source, bytes):
        file = io.BytesIO(source)
    else:
        file = io.BytesIO(read_file(source, name))
    if not file.read(1):
        file.close()
        raise PictureUnreadable(f"{name} is empty: it has no bytes")
    file.seek(0)
    return file


def _open(file: BinaryIO, name: str) -> Image.Image:
    """The picture in a file, with the readers of the optional extras where it needs one."""
    head = file.read(_HEAD)
    file.seek(0)
    formats: tuple[str, ...] = PICTURE_FORMATS
    if _is_heif(head):
        _need("pillow_heif", "register_heif_opener", f"{name} is HEIC", _HEIC_READER)
        formats = ("HEIF",)
    elif head[:2] == b"\xff\x0a" or head[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        _need("pillow_jxl", "", f"{name} is JPEG XL", _JXL_READER)
        formats = ("JXL",)
    else:
        # Pillow would load every reader that it has to find these, which takes 60 ms.
        for reader in ("WebP", "Avif", "Tiff"):
            importlib.import_module(f"PIL.{reader}ImagePlugin")
    with _quiet():
        return Image.open(file, formats=formats)


def _is_heif(head: bytes) -> bool:
    """Whether a file begins as HEIC does, and not as AVIF, which may share its first brand."""
    brands = {head[at : at + 4] for at in (8, *range(16, min(len(head), _box_size(head)), 4))}
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not brands & _AVIF_BRANDS


def _box_size(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of Pillow's: of sizes, which we check, and of metadata, which we drop.

    Under a lock, for filters of warnings belong to the whole process.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _need(module: str, register: str, what: str, package: str) -> None:
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise PictureUnreadable(
            f"{what}, for which a reader is missing", hint=f"pip install {package}"
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


def _upright(image: Image.Image, longest: int | None = None) -> Picture:
    """The pixels of an opened picture; the mean of squares of them where few are wanted."""
    shrink = 1 if longest is None else max(1, max(image.size) // (2 * longest))
    return _turned(to_srgb(image, shrink), _orientation(image))


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
