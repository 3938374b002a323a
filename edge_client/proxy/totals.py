"""What the proxy has saved since it started, in Prometheus' text form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Totals:
    """Counts since the start. requests: by the status that they were answered with."""

    requests: Counter[int] = field(default_factory=Counter)
    pictures: int = 0
    picture_bytes: int = 0
    stream_bytes: int = 0
    saved_bytes: int = 0

    def exposition(self) -> str:
        """The text of /metrics."""
        by_status = {f'{{status="{status}"}}': n for status, n in sorted(self.requests.items())}
        return "".join(
            _counter(f"cotam_proxy_{name}_total", meaning, values)
            for name, meaning, values in (
                ("requests", "Answered requests.", by_status),
                ("pictures", "Pictures sent as streams.", {"": self.pictures}),
                ("picture_bytes", "Bytes of these as they came.", {"": self.picture_bytes}),
                ("stream_bytes", "Bytes of the streams sent for them.", {"": self.stream_bytes}),
                ("saved_bytes", "Bytes of bodies less than came.", {"": self.saved_bytes}),
            )
        )


def _counter(name: str, meaning: str, values: Mapping[str, int]) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} counter"]
    lines += [f"{name}{labels} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"
