"""API keys: 256 random bits, known here by their SHA-256 alone.

A key is too long to be guessed from its hash, so a plain hash is enough and no salt is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from cloud_server.settings import PREFIX, Settings
from shared.errors import KeyMissing, KeyRefused, UsageError

KEY_PREFIX: Final = "cotam_"
_NAME: Final = r"[A-Za-z0-9._-]{1,64}"
_ENTRY: Final = re.compile(rf"({_NAME})=([0-9a-f]{{64}})")


def entry_of(name: str, key: str) -> str:
    """What COTAM_API_KEYS holds of a key. Raises UsageError for a name that it cannot hold."""
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"the name of a key is {name[:64]!r}", hint="1 to 64 letters, digits, dots, _ and -"
        )
    return f"{name}={hash_key(key)}"


def new_key() -> str:
    """A new key; whoever gets it must keep it, for only its hash stays."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """Hexadecimal SHA-256 of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """Names of keys by their hashes. An empty ring lets everyone in."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = dict(hashes)

    @classmethod
    def of(cls, settings: Settings) -> KeyRing:
        """The keys of the settings. Raises UsageError for an entry of another form, or a name
        that comes twice."""
        entries = settings.api_keys.get_secret_value().split(",")
        if settings.api_keys_file is not None:
            try:
                entries += settings.api_keys_file.read_text().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no text"
                raise UsageError(
                    f"{PREFIX}API_KEYS_FILE is {str(settings.api_keys_file)!r}: {reason}"
                ) from error
        hashes: dict[str, str] = {}
        for name, hashed in _parse(entries):
            if hashes.setdefault(name, hashed) != hashed:
                raise UsageError(
                    f"{PREFIX}API_KEYS names two keys {name!r}", hint="give each its own name"
                )
        return cls(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def caller(self, authorization: str) -> str:
        """The name of the key in an Authorization header; "" where there are no keys.

        Raises KeyMissing or KeyRefused. Every key is compared, each in constant time.
        """
        if not self._hashes:
            return ""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise KeyMissing(
                "this server asks for a key", hint="send it as Authorization: Bearer KEY"
            )
        given = hash_key(key.strip())
        names = [n for n, known in self._hashes.items() if hmac.compare_digest(known, given)]
        if not names:
            raise KeyRefused("the key is not known here", hint="ask the operator for one")
        return names[0]


def _parse(entries: Iterable[str]) -> Iterable[tuple[str, str]]:
    for entry in (part.strip() for part in entries):
        if not entry or entry.startswith("#"):
            continue
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise UsageError(
                f"{PREFIX}API_KEYS has an entry that is not NAME=SHA256",
                hint="`cloud_server key NAME` makes a key and its entry",
            )
        yield match[1], match[2]
