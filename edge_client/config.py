"""Settings of the client. Precedence: flag > environment > config file > default."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shared.errors import UsageError

DEFAULT_SERVER: Final = "http://127.0.0.1:8000"
VARIABLES: Final = {"server": "COTAM_SERVER_URL", "key": "COTAM_API_KEY"}


@dataclass(frozen=True)
class Config:
    """server: base URL. key: API key, never shown."""

    server: str = DEFAULT_SERVER
    key: str = field(default="", repr=False)


def config_path() -> Path:
    """Where the config file lies: lines of `name = value`, `#` starts a comment."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "cotam" / "config"


def load_config(server: str | None = None, key: str | None = None) -> Config:
    """The settings that hold. Raises UsageError for an unknown name or a URL that is none."""
    values = _read_file(config_path())
    for name, variable in VARIABLES.items():
        if os.environ.get(variable):
            values[name] = os.environ[variable]
    if server is not None:
        values["server"] = server
    if key is not None:
        values["key"] = key
    config = Config(**values)
    return Config(_check_url(config.server), config.key)


def _read_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or name not in VARIABLES:
            raise UsageError(
                f"line {number} of {path} is not a setting: {line.split('=')[0].strip()}",
                hint="known names: " + ", ".join(VARIABLES),
            )
        values[name] = value.strip("\"'")
    return values


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"the server {url!r} is not a URL", hint=f"for example {DEFAULT_SERVER}"
        )
    return url.rstrip("/")
