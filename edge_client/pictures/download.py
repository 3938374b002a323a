"""A picture that is named by its URL: fetched by the edge, with every size and time bounded.

Only http and https, no key of ours, no cookies; a redirect may not leave https for http.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from shared.errors import CotamError, PictureTooLarge, PictureUnreadable

if TYPE_CHECKING:
    import httpx

MAX_BYTES: Final = 64 << 20
MAX_SECONDS: Final = 30.0
MAX_REDIRECTS: Final = 5
_STALL_SECONDS: Final = 10.0
_ASKED: Final = {"user-agent": "cotam", "accept": "image/*, */*;q=0.1"}


def is_url(picture: object) -> bool:
    """Whether a picture is named by a URL that is fetched."""
    return isinstance(picture, str) and picture.lower().startswith(("http://", "https://"))


def download(url: str) -> bytes:
    """The file at a URL.

    Raises PictureUnreadable for what cannot be fetched within half a minute, PictureTooLarge for
    more than 64 MiB.
    """
    import httpx  # 0.1 s that no other picture costs

    end = time.monotonic() + MAX_SECONDS
    try:
        with httpx.Client(timeout=_STALL_SECONDS, headers=_ASKED) as http:
            for _ in range(MAX_REDIRECTS + 1):
                with http.stream("GET", url) as response:
                    if not response.has_redirect_location:
                        return _body(response, url, end)
                    url = _next(response, url)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ImportError, ValueError) as error:
        raise _failed(url, str(error) or type(error).__name__) from error
    raise _failed(url, f"it was sent on more than {MAX_REDIRECTS} times")


def _next(response: httpx.Response, url: str) -> str:
    """Where a redirect leads."""
    request: Any = response.next_request
    target = str(request.url)
    if not is_url(target) or (url.lower().startswith("https") and target.startswith("http:")):
        raise _failed(url, f"it leads to {target.partition(':')[0]}")
    return target


def _body(response: httpx.Response, url: str, end: float) -> bytes:
    if not response.is_success:
        raise _failed(url, f"it answered {response.status_code} {response.reason_phrase}")
    data = bytearray()
    for block in response.iter_bytes():
        data += block
        if len(data) > MAX_BYTES:
            raise PictureTooLarge(f"{url} has over {MAX_BYTES} bytes")
        if time.monotonic() > end:
            raise _failed(url, "it did not come in time")
    return bytes(data)


def _failed(url: str, reason: str) -> CotamError:
    return PictureUnreadable(f"{url} cannot be fetched: {reason}", hint="check the address")
