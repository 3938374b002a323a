"""Logs: one JSON object a line on standard error, each with the id of its request.

Prompts, answers, keys and pictures are never logged.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

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
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(settings: Settings) -> None:
    """Send every logger of the process to standard error in the form of the settings."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
