"""From a picture in any form to its stream: at the resolution and quality that were chosen."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge_client.coding.bundles import AUTO, find_named
from edge_client.pictures.images import Picture, Resolution, Source, fit, load, long_side
from shared.bitstream import Bitstream, Limits
from shared.bundle import Bundle
from shared.errors import PictureTooLarge

if TYPE_CHECKING:
    from edge_client.coding.continuing import CodedPicture
    from edge_client.coding.encoder import Encoder


class PictureCoder:
    """Codes pictures with a bundle, which may be exchanged meanwhile. For several threads.

    source --load--> pixels --fit--> pixels of the resolution --Encoder--> Bitstream
    """

    def __init__(
        self,
        bundle: Bundle | str = AUTO,
        *,
        quality: float | None = None,
        budget: int | None = None,
        resolution: Resolution = "model",
        guidance: bool = True,
        focus: bool = False,
        threads: int | None = None,
    ) -> None:
        """bundle: "auto" is the embedded one, or another where a server does not take that.

        quality: 0 to 9, default the bundle's own. budget: bytes, instead of a quality.

        resolution: long side in pixels at which pictures are coded: "model" is what the language
        model can use, "native" the picture's own; aspect kept, never scaled up. What the model can
        use is for the bundle to say, or with "auto" for a server, in `served_resolution`.

        focus: what the question names gets its bits, all else fewer; needs a bundle that has learnt
        words, and changes nothing where it knows none of the question's.
        """
        self.bundle = find_named(bundle) if isinstance(bundle, str) else bundle
        self.any_bundle = bundle == AUTO
        self.quality = quality
        self.budget = budget
        self.resolution = resolution
        self.served_resolution: int | None = None
        self.guidance = guidance
        self.focus = focus
        self._threads = threads
        self._loading = threading.Lock()
        self._encoder: Encoder | None = None

    @property
    def encoder(self) -> Encoder:
        """The bundle's networks, loaded when a picture is first coded."""
        with self._loading:
            if self._encoder is None:
                from edge_client.coding.encoder import Encoder

                self._encoder = Encoder(self.bundle, self._threads)
            return self._encoder

    @property
    def follows_server(self) -> bool:
        """Whether a server's word on the resolution counts."""
        return self.any_bundle and self.resolution == "model"

    def use(self, bundle: Bundle) -> None:
        """Code with another bundle from now on."""
        with self._loading:
            if bundle.id != self.bundle.id:
                self.bundle, self._encoder = bundle, None

    def pixels(self, picture: Source, *, name: str = "") -> Picture:
        """A picture at the resolution at which it is coded, u8 [H, W, 3]."""
        return self._pixels(picture, name, self.bundle)

    def encode(self, picture: Source, *, name: str = "", question: str = "") -> Bitstream:
        """The stream of a picture: a path, bytes, an open file, a PIL image or an array.

        question: what will be asked about it, for `focus`. Raises PictureError, or UsageError for a
        quality, budget or focus that cannot be had.
        """
        return self.code(picture, name=name, question=question).stream

    def code(self, picture: Source, *, name: str = "", question: str = "") -> CodedPicture:
        """The same, kept so that enhancements can continue the stream."""
        from edge_client.coding.continuing import CodedPicture

        encoder = self.encoder  # `use` may exchange it, but not between scaling and coding
        pixels = self._pixels(picture, name, encoder.bundle)
        analysed = encoder.analyse(pixels, self.guidance, question if self.focus else "")
        if self.budget is not None:
            return CodedPicture(analysed, *analysed.code_within_price(self.budget))
        default = encoder.bundle.manifest.quality
        quality = default if self.quality is None else self.quality
        return CodedPicture(analysed, analysed.code(quality))

    def _pixels(self, picture: Source, name: str, bundle: Bundle) -> Picture:
        model = self.served_resolution or bundle.manifest.resolution
        longest = long_side(self.resolution, model)
        pixels = fit(load(picture, name, longest), self.resolution, model)
        height, width = pixels.shape[:2]
        if height * width > Limits().pixels:
            raise PictureTooLarge(
                f"{name or 'the picture'} has {width}x{height} pixels, a stream holds at most "
                f"{Limits().pixels}",
                hint="lower --resolution",
            )
        return pixels
