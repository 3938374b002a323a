"""Where the server is and how long it may take; opens httpx's clients."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx

from edge_client.settings import DEFAULT_SERVER, check_api_key, server_url
from shared.errors import ServerUnreachable, UsageError

_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")

KEPT_S: Final = 60.0
"""How long a connection is kept for the next question."""

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, to hand the question over, to wait for its answer, and for a free
    connection of the pool."""

    connect: float = 5.0
    send: float = 30.0
    answer: float = 120.0
    pool: float = 30.0


DEFAULT_TIMEOUTS: Final = Timeouts()


class Connection:
    """A server's address, its key, and the patience with it. Raises UsageError for what is none."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        api_key: str = "",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.server = server_url(server)
        self.api_key = check_api_key(api_key)
        self.timeouts = timeouts

    def open(self) -> httpx.Client:
        """A client for threads. Raises UsageError where the environment stands in its way."""
        return self._open(httpx.Client)

    def open_async(self) -> httpx.AsyncClient:
        """A client for an event loop, as `open`."""
        return self._open(httpx.AsyncClient)

    def unreachable(self, error: httpx.RequestError) -> ServerUnreachable:
        """What a failed connection is for the caller."""
        reason = str(error) or type(error).__name__
        hint = "is the server running? see --server"
        if isinstance(error, httpx.TimeoutException):
            phase = {
                httpx.ConnectTimeout: "took no connection",
                httpx.WriteTimeout: "did not take the question",
                httpx.ReadTimeout: "did not answer",
            }.get(type(error), "was not free")
            reason = f"it {phase} in time"
        elif "CERTIFICATE_VERIFY_FAILED" in reason:
            hint = "SSL_CERT_FILE may name the certificates of your own authority"
        elif proxies := _proxies():
            hint = f"is the server running? a proxy is named by {proxies}"
        return ServerUnreachable(f"no answer from {self.server}: {reason}", hint=hint)

    def _open(self, kind: Callable[..., Http]) -> Http:
        waits = self.timeouts
        options: dict[str, Any] = {
            "base_url": self.server,
            "limits": httpx.Limits(max_connections=100, keepalive_expiry=KEPT_S),
            "timeout": httpx.Timeout(
                connect=waits.connect, write=waits.send, read=waits.answer, pool=waits.pool
            ),
        }
        try:
            http = kind(**options)
            http.base_url.host  # noqa: B018 -- a name that cannot be is only found out here
        except ImportError as error:  # what speaks SOCKS is an extra of httpx's
            raise UsageError(
                f"the proxy of {_proxies()} is a SOCKS one, for which socksio is missing",
                hint="pip install socksio, or unset it",
            ) from error
        except OSError as error:
            files = ", ".join(name for name in _CERTIFICATES if os.environ.get(name))
            raise UsageError(
                f"the certificates of {files or 'the system'} cannot be read: "
                f"{error.strerror or error}",
                hint="name a file that is there, or unset it",
            ) from error
        except (ValueError, httpx.InvalidURL) as error:
            named = f", or the proxy of {_proxies()}," if _proxies() else ""
            raise UsageError(
                f"{self.server}{named} is no address: {error}",
                hint=f"write it as {DEFAULT_SERVER}",
            ) from error
        http.headers.clear()  # of httpx: they tell our server nothing, and every byte counts
        if self.api_key:
            http.headers["Authorization"] = f"Bearer {self.api_key}"
        return http


def _proxies() -> str:
    """Environment variables that name a proxy; not their values, which may hold passwords."""
    return ", ".join(f"{scheme.upper()}_PROXY" for scheme in urllib.request.getproxies())
