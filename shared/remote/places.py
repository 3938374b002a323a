"""Where a bundle lies: an embedded name, a folder, `https://...`, or `hf:ORG/NAME[@REVISION]`.

    hf:cotam/tiny@main --> https://huggingface.co/cotam/tiny/resolve/main/manifest.json, then files
    https://example.org/bundles/tiny --> https://example.org/bundles/tiny/manifest.json, then files

What was fetched is kept by its id in the user's cache, and with it which place had it last: where
the place cannot be reached, that one is used. A revision that is a whole commit is asked for once.
HF_ENDPOINT and HF_TOKEN are those of Hugging Face's own tools.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.bundle import Bundle, Part, open_bundle
from shared.errors import BundleMissing, UsageError
from shared.files import write_atomically, xdg
from shared.remote.keeping import keep

if TYPE_CHECKING:
    import httpx

HUB: Final = "hf:"
MOST_BYTES: Final[dict[Part, int]] = {"edge": 1 << 30, "cloud": 64 << 30}
EDGE: Final[tuple[Part, ...]] = ("edge",)
WHOLE: Final[tuple[Part, ...]] = ("edge", "cloud")
_MOST_REDIRECTS: Final = 5
_SECONDS: Final = 30.0
_HUB_NAME: Final = re.compile(r"hf:(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)
_COMMIT: Final = re.compile("[0-9a-f]{40}")

log = logging.getLogger(__name__)


def cache_folder(parts: Collection[Part] = EDGE) -> Path:
    """Where fetched bundles lie, side by side, each under its id: edge parts, or whole ones."""
    name = "bundles" if "cloud" not in parts else "whole-bundles"
    return xdg("XDG_CACHE_HOME", ".cache") / name


def is_remote(place: str | Path) -> bool:
    """Whether a place is none of this machine."""
    return isinstance(place, str) and place.startswith(("http://", "https://", HUB))


def open_place(place: str | Path, parts: Collection[Part]) -> Bundle:
    """The bundle at any place; of a remote one, the parts that are asked for.

    Raises UsageError for what is no place, BundleMissing where there is none or it cannot be
    reached and was never fetched, BundleCorrupt.
    """
    if not isinstance(place, str) or not is_remote(place):
        return open_bundle(place)
    url, pinned = _address(place)
    cache = cache_folder(parts)
    memory = cache / ".places" / hashlib.sha256(place.encode()).hexdigest()[:32]
    if pinned and (known := _remembered(cache, memory)):
        return known
    try:
        bundle = _fetched(place, url, cache, parts)
    except BundleMissing as error:
        if (known := _remembered(cache, memory)) is None:
            raise
        log.info("%s: the bundle %s of last time is used", error, known.hex_id)
        return known
    _remember(memory, bundle)
    return bundle


def _address(place: str) -> tuple[str, bool]:
    """The address of the folder, and whether what is there never changes."""
    if not place.startswith(HUB):
        return place.removesuffix("manifest.json").rstrip("/"), False
    match = _HUB_NAME.fullmatch(place)
    if match is None:
        raise UsageError(f"{place} names no repository", hint="write hf:ORG/NAME[@REVISION]")
    name, revision = match[1], match[2] or "main"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    quoted = urllib.parse.quote(revision, safe="")
    return f"{endpoint}/{name}/resolve/{quoted}", bool(_COMMIT.fullmatch(revision))


def _fetched(place: str, url: str, cache: Path, parts: Collection[Part]) -> Bundle:
    import httpx

    token = os.environ.get("HF_TOKEN", "") if place.startswith(HUB) else ""
    headers = {"user-agent": "cotam"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        with httpx.Client(
            headers=headers,  # httpx keeps the token from other hosts that it is sent on to
            timeout=_SECONDS,
            follow_redirects=True,
            max_redirects=_MOST_REDIRECTS,
        ) as http:

            def read(name: str) -> Iterator[bytes]:
                return _blocks(http, f"{url}/{urllib.parse.quote(name)}", place)

            return keep(cache, read, parts, sum(MOST_BYTES[part] for part in parts))
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:
        raise BundleMissing(
            f"{place} cannot be reached: {str(error) or type(error).__name__}",
            hint="look at its spelling, or name a folder",
        ) from error


def _blocks(http: httpx.Client, url: str, place: str) -> Iterator[bytes]:
    with http.stream("GET", url) as response:
        if not response.is_success:
            raise BundleMissing(
                f"{place} has no bundle: {url} answered {response.status_code}",
                hint="set HF_TOKEN for a repository that is not public"
                if place.startswith(HUB)
                else "name the folder that holds a manifest.json",
            )
        if url.startswith("https:") and response.url.scheme != "https":
            raise BundleMissing(f"{place} leads to {response.url.scheme}, which is not safe")
        yield from response.iter_bytes()


def _remembered(cache: Path, memory: Path) -> Bundle | None:
    try:
        return Bundle.open(cache / memory.read_text())
    except (OSError, ValueError, BundleMissing):
        return None


def _remember(memory: Path, bundle: Bundle) -> None:
    try:
        memory.parent.mkdir(exist_ok=True)
        write_atomically(memory, bundle.hex_id.encode())
    except OSError as error:
        raise UsageError(f"{memory} cannot be written: {error.strerror}") from error
