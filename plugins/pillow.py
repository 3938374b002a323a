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

from shared.bitstream import MAGIC, MEDIA_TYPE, SUFFIX, Bitstream, Limits
from shared.errors import CotamError, PictureTooLarge, StreamError, UsageError

FORMAT: Final = "COTAM"
OPTIONS: Final = frozenset({"quality", "budget", "guidance", "bundle"})


class CotamImageFile(ImageFile.ImageFile):
    """A stream: parsed when it is opened, decoded when its pixels are first needed."""

    format = FORMAT
    format_description = "CoTAM, compression for multimodal language models"
    _stream: Bitstream | None = None

    def _open(self) -> None:
        assert self.fp is not None
        # A byte more than a reader takes, so that a longer one is refused, not cut.
        data = self.fp.read(Limits().stream_bytes + 1)
        try:
            self._stream = Bitstream.from_bytes(data)
        except StreamError as error:
            raise UnidentifiedImageError(f"not a sound CoTAM stream: {error}") from error
        self._size = self._stream.width, self._stream.height
        self._mode = "RGB"
        self.info["quality"] = self._stream.quality
        self.info["codec"] = self._stream.codec_id.hex()

    def load(self) -> Any:
        """Decode, the first time. Raises OSError where this machine cannot."""
        if self._stream is not None:
            from cloud_server import decode  # torch, which opening does without

            try:
                decoded = decode(self._stream.to_bytes())
            except CotamError as error:
                raise OSError(f"the CoTAM stream cannot be decoded: {error}") from error
            self.im, self._stream = decoded.im, None
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
