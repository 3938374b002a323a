"""One error tree, and the two tables that turn an error into an HTTP status or an exit code.

    CotamError
    |-- UsageError               the caller asked for something that cannot be done
    |-- PictureError             a picture that cannot be coded
    |   |-- PictureUnreadable
    |   `-- PictureTooLarge
    |-- StreamError              bytes that are no valid stream
    |   |-- StreamForeign        another format
    |   |-- StreamVersion        another version of ours
    |   |-- StreamTruncated
    |   |-- StreamCorrupt        transport fault: the CRC does not match
    |   |-- StreamMalformed      a field or chunk outside its range
    |   |-- StreamUnknownChunk   a required chunk that this version does not know
    |   |-- StreamTooLarge       over the limits of the reader
    |   |-- BaseUnknown          the clip continues a frame that is not here, or no more
    |   |-- DecoderMismatch      intact bytes that decode to other symbols than were coded
    |   `-- EnhancementError     a sound enhancement that does not go with what is here
    |       |-- EnhancementForeign   it continues another stream
    |       |-- EnhancementCells     it names cells that the picture does not have
    |       `-- EnhancementCoarse    nothing would become finer
    |-- BundleError
    |   |-- BundleUnknown        the stream names a bundle that is not here
    |   |-- BundleMissing        there is no bundle at the place that was named
    |   `-- BundleCorrupt        a file does not match its hash or form
    |-- RequestError             a request that is not answered as it stands
    |   |-- FieldInvalid
    |   |-- BodyTooLarge
    |   |-- NotFound
    |   |-- MethodNotAllowed
    |   |-- KeyMissing
    |   |-- KeyRefused
    |   |-- RateLimited
    |   |-- Overloaded
    |   |-- NotReady
    |   `-- DeadlineExceeded
    |-- UpstreamError            the model behind the server failed
    `-- ServerUnreachable        no answer from the server

Each class has a stable `code`: it travels in problem+json (RFC 9457), and the client raises the
same class again. An error says what is wrong with what, and `hint` what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final


class CotamError(Exception):
    """Anything that CoTAM refuses or fails at, with a message for a person.

    `hint` says what to do; `request_id` is set where a server answered; `retry_after` is seconds.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.request_id = ""
        self.retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(CotamError):
    code = "usage"


class PictureError(CotamError):
    code = "picture"


class PictureUnreadable(PictureError):
    code = "picture_unreadable"


class PictureTooLarge(PictureError):
    code = "picture_too_large"


class StreamError(CotamError):
    code = "stream"


class StreamForeign(StreamError):
    code = "stream_foreign"


class StreamVersion(StreamError):
    code = "stream_version"


class StreamTruncated(StreamError):
    code = "stream_truncated"


class StreamCorrupt(StreamError):
    code = "stream_corrupt"


class StreamMalformed(StreamError):
    code = "stream_malformed"


class StreamUnknownChunk(StreamError):
    code = "stream_unknown_chunk"


class StreamTooLarge(StreamError):
    code = "stream_too_large"


class BaseUnknown(StreamError):
    code = "base_unknown"


class DecoderMismatch(StreamError):
    code = "decoder_mismatch"


class EnhancementError(StreamError):
    code = "enhancement"


class EnhancementForeign(EnhancementError):
    code = "enhancement_foreign"


class EnhancementCells(EnhancementError):
    code = "enhancement_cells"


class EnhancementCoarse(EnhancementError):
    code = "enhancement_coarse"


class BundleError(CotamError):
    code = "bundle"


class BundleUnknown(BundleError):
    code = "bundle_unknown"


class BundleMissing(BundleError):
    code = "bundle_missing"


class BundleCorrupt(BundleError):
    code = "bundle_corrupt"


class RequestError(CotamError):
    code = "request"


class FieldInvalid(RequestError):
    code = "field_invalid"


class BodyTooLarge(RequestError):
    code = "body_too_large"


class NotFound(RequestError):
    code = "not_found"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"


class KeyMissing(RequestError):
    code = "key_missing"


class KeyRefused(RequestError):
    code = "key_refused"


class RateLimited(RequestError):
    code = "rate_limited"


class Overloaded(RequestError):
    code = "overloaded"


class NotReady(RequestError):
    code = "not_ready"


class DeadlineExceeded(RequestError):
    code = "deadline_exceeded"


class UpstreamError(CotamError):
    code = "upstream"


class ServerUnreachable(CotamError):
    code = "server_unreachable"


HTTP_STATUS: Final[dict[type[CotamError], int]] = {
    CotamError: 500,
    UsageError: 400,
    PictureError: 400,
    PictureTooLarge: 413,
    StreamError: 400,
    StreamTooLarge: 413,
    BaseUnknown: 409,
    DecoderMismatch: 422,
    EnhancementError: 422,
    EnhancementForeign: 409,
    BundleError: 500,
    BundleUnknown: 409,
    RequestError: 400,
    FieldInvalid: 422,
    BodyTooLarge: 413,
    NotFound: 404,
    MethodNotAllowed: 405,
    KeyMissing: 401,
    KeyRefused: 403,
    RateLimited: 429,
    Overloaded: 503,
    NotReady: 503,
    DeadlineExceeded: 504,
    UpstreamError: 502,
    ServerUnreachable: 502,
}
"""An error without a row takes that of its nearest ancestor."""

EXIT_OK: Final = 0
EXIT_CODE: Final[dict[type[CotamError], int]] = {
    CotamError: 1,
    UsageError: 2,
    BundleMissing: 2,
    PictureError: 3,
    ServerUnreachable: 4,
    KeyMissing: 5,
    KeyRefused: 5,
    RateLimited: 6,
    Overloaded: 6,
    NotReady: 6,
}
"""As above: a batch in which some failed and a stream that does not decode are 1."""


def http_status(error: CotamError) -> int:
    """The status of the table for an error's class or its nearest ancestor."""
    return next(HTTP_STATUS[c] for c in type(error).__mro__ if c in HTTP_STATUS)


def exit_code(error: CotamError) -> int:
    """The exit code of the table for an error's class or its nearest ancestor."""
    return next(EXIT_CODE[c] for c in type(error).__mro__ if c in EXIT_CODE)


def batch_exit_code(errors: Sequence[CotamError], total: int) -> int:
    """Exit code of a batch: 0; that of the errors where all failed alike; else 1."""
    codes = {exit_code(error) for error in errors}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 and len(errors) == total else 1


def error_of(code: str, message: str) -> CotamError:
    """The error that a server's problem+json stands for; unknown codes become a CotamError."""
    return next((c for c in _tree(CotamError) if c.code == code), CotamError)(message)


def _tree(root: type[CotamError]) -> Iterator[type[CotamError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
