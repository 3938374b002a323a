"""The body of a chat completion, its pictures as streams; all else is left as it came.

    body --parse--> value --pictures of data URLs coded--> value --write--> body

Where there is no picture to code, the bytes are those that came. Nothing here opens a connection.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from shared.bitstream import MEDIA_TYPE
from shared.errors import FieldInvalid, PictureUnreadable, RequestError

STREAM_URL: Final = f"data:{MEDIA_TYPE};base64,"
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

Code = Callable[[bytes, str], bytes]
"""Makes the stream of a picture's file; the second is what messages call it. Raises CotamError."""


@dataclass(frozen=True)
class Rewritten:
    """A body to be sent. received: its bytes as it came.

    Of the pictures that were coded: how many, and their bytes before and after, without base64.
    """

    body: bytes
    received: int = 0
    pictures: int = 0
    picture_bytes: int = 0
    stream_bytes: int = 0


def rewrite(body: bytes, code: Code) -> Rewritten:
    """The body with each picture of a data URL as a stream.

    Streams, and names without a scheme (pictures that a server has kept), are left as they are.
    Raises RequestError for what is no JSON object, FieldInvalid for a URL that would have to be
    fetched, PictureUnreadable for damaged base64, and what `code` raises.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError("the body is no JSON object", hint="send a chat completion's fields")
    pictures = picture_bytes = stream_bytes = 0
    for holder, key, name in _places(value):
        picture = _picture(holder[key], name)
        if picture is None:
            continue
        stream = code(picture, name)
        holder[key] = STREAM_URL + base64.b64encode(stream).decode()
        pictures += 1
        picture_bytes += len(picture)
        stream_bytes += len(stream)
    if not pictures:
        return Rewritten(body, len(body))
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair, which UTF-8 cannot hold, becomes \udXXX: the escape of JSON as well.
    coded = text.encode(errors="backslashreplace")
    return Rewritten(coded, len(body), pictures, picture_bytes, stream_bytes)


def _places(value: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Where URLs of pictures stand: an object, the key in it, and the name for messages.

    What has another form is left to the server to judge.
    """
    messages = value.get("messages")
    for i, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(part, dict) or part.get("type") != "image_url":
                continue
            name = f"messages[{i}].content[{j}]"
            image = part.get("image_url")
            if isinstance(image, str):  # not OpenAI's form, but several servers take it
                yield part, "image_url", name
            elif isinstance(image, dict) and isinstance(image.get("url"), str):
                yield image, "url", name


def _picture(url: str, name: str) -> bytes | None:
    """The file in a data URL; None where the URL is to stay as it is."""
    if not _ABSOLUTE.match(url) or _is_stream(url):
        return None
    scheme, _, rest = url.partition(":")
    if scheme.lower() != "data":
        raise FieldInvalid(
            f"{name} is a URL of {scheme[:16]}: this proxy fetches none",
            hint="send the picture itself as a data URL",
        )
    head, comma, data = rest.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise PictureUnreadable(f"{name} is a data URL without base64")
    try:
        return base64.b64decode("".join(urllib.parse.unquote(data).split()), validate=True)
    except ValueError as error:
        raise PictureUnreadable(f"the base64 of {name} is damaged: {error}") from error


def _is_stream(url: str) -> bool:
    return url[: len(STREAM_URL)].lower() == STREAM_URL
