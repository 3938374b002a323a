"""Raw measurements as JSON lines, one a measurement, so that an interrupted command goes on.

{"key": {"picture": "kodim01.png", ...}, "value": {"bytes": 1034, "psnr": 28.1}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec

Fields = dict[str, Any]
Inputs = ParamSpec("Inputs")


class Records:
    """The measurements in a file. A key holds everything that the value depends on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Fields] = {}
        if path.exists():
            self._load()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)

    def measure(
        self,
        key: Fields,
        compute: Callable[Inputs, Fields],
        *inputs: Inputs.args,
        **named: Inputs.kwargs,
    ) -> Fields:
        """The value of a key, computed of the inputs and written down where it is not known yet."""
        known = self.get(key)
        return self.add(key, compute(*inputs, **named)) if known is None else known

    def get(self, key: Fields) -> Fields | None:
        """The value of a key, None where it is not known."""
        return self._known.get(_name(key))

    def add(self, key: Fields, value: Fields) -> Fields:
        """Write a measurement down; it is in the file when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "value": value}) + "\n")
        self._known[_name(key)] = value
        return value

    def __iter__(self) -> Iterator[tuple[Fields, Fields]]:
        """All keys and values, in the order in which they were measured."""
        return ((json.loads(name), value) for name, value in self._known.items())

    def _load(self) -> None:
        whole = self.path.read_bytes()
        sound = whole[: whole.rfind(b"\n") + 1]
        if len(sound) < len(whole):
            # A line without its end was being written when the last run stopped.
            with self.path.open("r+b") as file:
                file.truncate(len(sound))
        for line in sound.splitlines():
            record = json.loads(line)
            self._known[_name(record["key"])] = record["value"]


def _name(key: Fields) -> str:
    return json.dumps(key, sort_keys=True)
