"""Logs on standard error: JSON, an object a line with the id of its request; text for a terminal.

Prompts, answers, keys and pictures are never logged.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

from cloud_server.guard.request_id import current_request_id
from cloud_server.settings import Settings


class JsonLines(logging.Formatter):
    """time, level, logger, message, request_id, then what the record's `fields` hold."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id.get():
            line["request_id"] = request_id
        line |= _fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """Time of day, level where it is not info, message, then what the record's `fields` hold."""

    def format(self, record: logging.LogRecord) -> str:
        """A line, and a traceback below it where there is one."""
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        fields = _fields(record)
        if "route" in fields:
            message = "{method} {route} {status} in {ms:.0f} ms".format_map(fields)
        else:
            message = " ".join([record.getMessage(), *(f"{k}={v}" for k, v in fields.items())])
        line = f"{time} {level}{message}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


def configure(settings: Settings) -> None:
    """Send every logger of the process to standard error in the form of the settings."""
    form = form_for(settings.log_format, terminal=sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It would tell of every damaged form.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    if form == "text" and settings.log_level != "debug":
        # What uvicorn says of its start and end, `cloud_server.server` says for people.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def form_for(setting: str, terminal: bool) -> str:
    """What the setting says, "json" or "text"; of "auto" the one that suits the log's place."""
    if setting == "auto":
        return "text" if terminal else "json"
    return setting


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields
