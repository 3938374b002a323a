"""The bundles of this device: what ships in the package, and what was fetched from servers."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from shared.bundle import DEFAULT, EMBEDDED, MANIFEST, Bundle, embedded
from shared.errors import BundleCorrupt, BundleMissing
from shared.remote.places import EDGE, cache_folder, is_remote, open_place

AUTO: Final = "auto"
"""The name that stands for: the embedded bundle, or another where the server does not take it."""


def local_bundles() -> list[Bundle]:
    """All bundles of this device, the embedded ones first, each id once."""
    by_id: dict[bytes, Bundle] = {}
    for folder in (EMBEDDED, cache_folder()):
        for path in sorted(folder.glob(f"*/{MANIFEST}")):
            with suppress(BundleMissing, BundleCorrupt):
                bundle = Bundle.open(path.parent)
                by_id.setdefault(bundle.id, bundle)
    return list(by_id.values())


def find_named(name: str) -> Bundle:
    """A bundle by "auto", embedded name, id or directory, or one that is fetched from a URL or hub.

    Raises BundleMissing, BundleCorrupt.
    """
    if name == AUTO:
        return embedded(DEFAULT)
    try:
        return open_place(name, EDGE)
    except BundleMissing:
        if is_remote(name):
            raise
        for bundle in local_bundles():
            if name in (bundle.hex_id, bundle.manifest.name):
                return bundle
        raise
