"""What both clients have in common: everything but the connection."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_client.pictures.images import Picture, Resolution, Source, fit, load, long_side
from edge_client.server.bundles import AUTO, find_named
from edge_client.server.retries import Retries
from edge_client.settings import DEFAULT_SERVER
from shared.bitstream import Bitstream, Limits
from shared.bundle import Bundle
from shared.errors import PictureTooLarge, UsageError

if TYPE_CHECKING:
    from edge_client.coding.encoder import Encoder


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, to hand the question over, to wait for its answer, and for a free
    connection of the pool."""

    connect: float = 5.0
    send: float = 30.0
    answer: float = 120.0
    pool: float = 30.0


DEFAULT_TIMEOUTS: Final = Timeouts()
DEFAULT_RETRIES: Final = Retries()


class Core:
    """What the two clients have in common: everything but the connection."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str = "",
        bundle: Bundle | str = AUTO,
        quality: float | None = None,
        budget: int | None = None,
        resolution: Resolution = "model",
        guidance: bool = True,
        threads: int | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """bundle: "auto" is the embedded one, or another where the server does not take that.

        quality: 0 to 9, default the bundle's own. budget: bytes, instead of a quality.

        resolution: long side in pixels at which pictures are coded: "model" is what the bundle's
        language model can use, "native" the picture's own; aspect kept, never scaled up.
        """
        self.server = server.rstrip("/")
        self.bundle = find_named(bundle) if isinstance(bundle, str) else bundle
        self.any_bundle = bundle == AUTO
        self.quality = quality
        self.budget = budget
        self.resolution = resolution
        self.guidance = guidance
        self.timeouts = timeouts
        self.retries = retries
        if not (api_key.isascii() and api_key.isprintable()):
            raise UsageError("the API key has characters that no HTTP header can carry")
        self.api_key = api_key
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

    def pixels(self, picture: Source, *, name: str = "") -> Picture:
        """A picture at the resolution at which it is coded, u8 [H, W, 3]."""
        model = self.bundle.manifest.resolution
        longest = long_side(self.resolution, model)
        found = fit(load(picture, name, longest), self.resolution, model)
        height, width = found.shape[:2]
        if height * width > Limits().pixels:
            raise PictureTooLarge(
                f"{name or 'the picture'} has {width}x{height} pixels, a stream holds at most "
                f"{Limits().pixels}",
                hint="lower --resolution",
            )
        return found

    def encode(self, picture: Source, *, name: str = "") -> Bitstream:
        """The stream of a picture: a path, bytes, an open file, a PIL image or an array.

        Raises PictureError, or UsageError for a quality or budget that cannot be had.
        """
        return self.code(self.pixels(picture, name=name))

    def code(self, pixels: Picture) -> Bitstream:
        """The stream of pixels u8 [H, W, 3], as they are."""
        encoder = self.encoder
        analysed = encoder.analyse(pixels, self.guidance)
        if self.budget is not None:
            return analysed.code_within(self.budget)
        default = encoder.bundle.manifest.quality
        return analysed.code(default if self.quality is None else self.quality)

    def use(self, bundle: Bundle) -> None:
        """Code with another bundle from now on."""
        with self._loading:
            if bundle.id != self.bundle.id:
                self.bundle, self._encoder = bundle, None
