"""Options of the commands that ask about Scenes' test split under many conditions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable


def add_scene_options(
    parser: argparse.ArgumentParser, pictures: int, qualities: Iterable[float]
) -> None:
    """Scenes, qualities, bundle and threads, with the command's own defaults."""
    parser.add_argument(
        "--pictures", type=int, default=pictures, help="scenes 0 .. N - 1 of the test split"
    )
    parser.add_argument("--qualities", type=float, nargs="+", default=list(qualities))
    parser.add_argument("--bundle", default="tiny", help="embedded name or folder")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
