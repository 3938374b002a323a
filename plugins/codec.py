"""Pictures to streams in one process, for programs that are not a device and ask no server.

The way back is `cloud_server.decode`. Nothing heavy is imported with this module.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from shared.bitstream import Bitstream
from shared.bundle import DEFAULT

if TYPE_CHECKING:
    from edge_client.coding.encoder import Encoder
    from edge_client.pictures.images import Source


def encode(
    picture: Source,
    *,
    quality: float | None = None,
    budget: int | None = None,
    guidance: bool = True,
    bundle: str = DEFAULT,
) -> Bitstream:
    """The stream of a picture at its own size: a path, bytes, a PIL image or an array.

    quality: 0 to 9, default the bundle's own. budget: bytes, instead of a quality. bundle: an
    embedded name, a folder, a URL or hf:ORG/NAME. Raises PictureError, BundleError, and UsageError
    for a quality or budget that cannot be had.
    """
    from edge_client.pictures.images import load

    encoder = _encoder(bundle)
    analysed = encoder.analyse(load(picture), guidance)
    if budget is not None:
        return analysed.code_within(budget)
    return analysed.code(encoder.bundle.manifest.quality if quality is None else quality)


@functools.lru_cache(maxsize=4)
def _encoder(bundle: str) -> Encoder:
    """The networks of a bundle, kept for the next picture."""
    from edge_client.coding.bundles import find_named
    from edge_client.coding.encoder import Encoder

    return Encoder(find_named(bundle))
