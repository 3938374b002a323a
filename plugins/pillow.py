"""CoTAM streams as a format of Pillow's. Importing this module registers it, as Pillow's own do.

    import plugins.pillow
    Image.open("street.cotam")                      # size at once, pixels when they are needed
    picture.save("street.cotam", quality=3)         # or budget=700; 0 to 9, bytes

Errors are Pillow's kinds: UnidentifiedImageError for what is no sound stream, OSError for one that
does not decode here or a picture that cannot be coded, ValueError for an option that cannot be had.
"""

from __future__ import annotations

from typing import IO, Any, Final

from PIL import Image, ImageFile, UnidentifiedImageError

from shared.bitstream import MAGIC, MEDIA_TYPE, SUFFIX, Limits
from shared.errors import CotamError, PictureTooLarge, StreamError, UsageError
from shared.layers.enhancement import read_layers

FORMAT: Final = "COTAM"
OPTIONS: Final = frozenset({"quality", "budget", "guidance", "bundle"})


class CotamImageFile(ImageFile.ImageFile):
    """A stream, or a file of layers: parsed when it is opened, decoded, as its last layer has it,
    when its pixels are first needed."""

    format = FORMAT
    format_description = "CoTAM, compression for multimodal language models"
    _data: bytes = b""

    def _open(self) -> None:
        assert self.fp is not None
        # A byte more than a reader takes, so that a longer one is refused, not cut.
        data = self.fp.read(Limits().stream_bytes + 1)
        try:
            stream, later = read_layers(data)
        except StreamError as error:
            raise UnidentifiedImageError(f"not a sound CoTAM stream: {error}") from error
        self._data = data
        self._size = stream.width, stream.height
        self._mode = "RGB"
        self.info["quality"] = later[-1].quality if later else stream.quality
        self.info["codec"] = stream.codec_id.hex()

    def load(self) -> Any:
        """Decode, the first time. Raises OSError where this machine cannot."""
        if self._data:
            from cloud_server import decode  # torch, which opening does without

            try:
                decoded = decode(self._data)
            except CotamError as error:
                raise OSError(f"the CoTAM stream cannot be decoded: {error}") from error
            self.im, self._data = decoded.im, b""
        return super().load()


def save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Code a picture at its own size; what is written holds nothing but pixels.

    Options of `Image.save`: quality 0 to 9, or budget in bytes; guidance, on by default; bundle,
    an embedded name or a folder.
    """
    from plugins.codec import encode

    options = {k: v for k, v in image.encoderinfo.items() if k in OPTIONS}
    try:
        stream = encode(image, **options)
    except (UsageError, PictureTooLarge) as error:
        raise ValueError(str(error)) from error
    except CotamError as error:
        raise OSError(str(error)) from error
    fp.write(stream.to_bytes())


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


Image.register_open(FORMAT, CotamImageFile, _accept)
Image.register_save(FORMAT, save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, MEDIA_TYPE)
