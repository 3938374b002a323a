"""Where the server is and how to ask it: flag > environment > config file > default.

The config file is TOML, `$XDG_CONFIG_HOME/cotam/config.toml` (or `~/.config/...`), with the names
of `Settings` as keys. `COTAM_CONFIG` names another file.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from shared.errors import UsageError
from shared.files import xdg

DEFAULT_SERVER: Final = "http://127.0.0.1:8000"
ENVIRONMENT: Final = {
    "server": "COTAM_SERVER_URL",
    "api_key": "COTAM_API_KEY",
    "bundle": "COTAM_EDGE_BUNDLE",
    "ask_back": "COTAM_ASK_BACK",
    "focus": "COTAM_FOCUS",
}
CHOICES: Final = ("ask_back", "focus")
SECRET: Final = frozenset({"api_key"})


@dataclass(frozen=True)
class Settings:
    """server: base URL. api_key: empty for none. bundle: auto, a name, an id or a directory.

    ask_back: "yes" to send pictures small and more of them where an answer is not sure, or "no".
    focus: "yes" to give bits to what a question names, or "no".
    """

    server: str = DEFAULT_SERVER
    api_key: str = ""
    bundle: str = "auto"
    ask_back: str = "no"
    focus: str = "no"


@dataclass(frozen=True)
class Resolved:
    """Settings, and for each of them where it came from."""

    settings: Settings
    origin: dict[str, str]


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """The config file's place, whether or not there is one."""
    named = environment.get("COTAM_CONFIG")
    if named:
        return Path(named)
    return xdg("XDG_CONFIG_HOME", ".config", environment) / "config.toml"


def resolve(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Resolved:
    """The settings that hold; a flag that is None was not given.

    Raises UsageError, which names file, key and value, where one is of no use.
    """
    try:
        path = config_path(environment)
    except UsageError:  # no home, no file
        path = Path(os.devnull)
    stored = _read(path)
    values: dict[str, str] = {}
    origin: dict[str, str] = {}
    for field in fields(Settings):
        name = field.name
        variable = ENVIRONMENT[name]
        flag = flags.get(name)
        if flag is not None:
            values[name], origin[name] = flag, f"--{name.replace('_', '-')}"
        elif environment.get(variable):
            values[name], origin[name] = environment[variable], variable
        elif name in stored:
            values[name], origin[name] = stored[name], str(path)
        else:
            values[name], origin[name] = str(field.default), "default"
    values["server"] = server_url(values["server"], origin["server"])
    values["api_key"] = check_api_key(values["api_key"])
    for name in CHOICES:
        check_choice(values[name], name, origin[name])
    return Resolved(Settings(**values), origin)


def server_url(text: str, origin: str = "") -> str:
    """A server's address, without /v1 and slashes at its end. Raises UsageError for what is none.

    origin: where it was set, for the message.
    """
    url = text.rstrip("/").removesuffix("/v1").rstrip("/")
    if not _is_server(url):
        raise UsageError(
            f"server is {text!r}{f' ({origin})' if origin else ''}, which is no URL",
            hint=f"write it as {DEFAULT_SERVER}",
        )
    return url


def check_api_key(key: str) -> str:
    """The key as it is. Raises UsageError for one that no header can carry."""
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise UsageError("the API key has characters that no HTTP header can carry")
    return key


def check_choice(text: str, name: str, origin: str = "") -> str:
    """The text as it is. Raises UsageError where it is neither yes nor no."""
    if text not in ("yes", "no"):
        raise UsageError(f"{name} is {text!r}{f' ({origin})' if origin else ''}: yes or no")
    return text


def store(path: Path, key: str, value: str | None) -> bool:
    """Set a key of the config file, or remove it (None): whether it was there. Raises UsageError.

    The file is written anew, for its owner's eyes alone: it may hold a key. Comments are lost.
    """
    from shared.files import write_atomically

    known = [field.name for field in fields(Settings)]
    if key not in known:
        raise UsageError(f"there is no setting {key!r}", hint=f"known: {', '.join(known)}")
    values = _read(path)
    was_there = values.pop(key, None) is not None
    if value is not None:
        if not value.isprintable():
            raise UsageError(f"{key} has characters that cannot be printed")
        if key == "server":
            value = server_url(value)
        elif key == "api_key":
            check_api_key(value)
        elif key in CHOICES:
            check_choice(value, key)
        values[key] = value
    # A JSON string of printable characters is a TOML string, too.
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}\n" for name, text in values.items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(lines).encode(), mode=0o600)
    except OSError as error:
        raise UsageError(f"the config file {path} cannot be written: {error.strerror}") from error
    return was_there


def _is_server(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        named = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:  # of a port, an IPv6 address or a name that cannot be
        return False
    plain = url.isprintable() and not any(c in url for c in " ?#")
    return named and plain and parts.scheme in ("http", "https")


def _read(path: Path) -> dict[str, str]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"the config file {path} cannot be read: {error.strerror}") from error
    known = [field.name for field in fields(Settings)]
    values = _parse(path, raw)
    for key, value in values.items():
        if key not in known:
            raise UsageError(
                f"the config file {path} has an unknown key: {key}",
                hint=f"known: {', '.join(known)}",
            )
        if not isinstance(value, str):
            raise UsageError(f"the config file {path} wants {key} as text, not as {value!r}")
    return values


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} is not TOML: {error}") from error
