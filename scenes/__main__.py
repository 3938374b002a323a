"""`python -m scenes render`: pictures and questions as files, so that any model can be scored.

`--world scenes` draws objects, `--world pages` print, `--world motion` clips of objects;
`scenes.files` and `scenes.motion.files` say what is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scenes.backgrounds import Backgrounds
from scenes.files import render_files, render_page_files
from scenes.motion import render_motion_files
from scenes.pages import Fonts
from scenes.render import SPLITS
from scenes.versions import VERSION, WORLDS

DEFAULT_SIZE = {"scenes": "256x256", "pages": "640x480", "motion": "256x256"}
DEFAULT_FRAMES = 8


def main(words: list[str] | None = None) -> None:
    """Parse the command line (default: the process's own) and draw what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m scenes", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = commands.add_parser("render", help="write pictures and a JSON lines file of questions")
    own.add_argument("--world", choices=tuple(DEFAULT_SIZE), default="scenes")
    own.add_argument("--split", choices=SPLITS, default="test")
    own.add_argument("--version", type=int, choices=tuple(WORLDS), help="of the world of scenes")
    own.add_argument("--start", type=int, default=0, help="index of the first picture")
    own.add_argument("--count", type=int, required=True, help="number of pictures")
    own.add_argument("--size", help="width x height in pixels; default: 256x256, pages 640x480")
    own.add_argument("--frames", type=int, help="of each clip in motion; default: 8")
    own.add_argument(
        "--photographs", type=Path, help="folder of backgrounds; default: scikit-image's, if there"
    )
    own.add_argument(
        "--any-fonts",
        action="store_true",
        help="of pages: print with what fonts there are, not those of the extra `pages`",
    )
    own.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(words)
    try:
        count = _render(arguments)
    except (ValueError, OSError) as error:
        own.error(str(error))
    print(
        f"{arguments.count} pictures and {count} questions in {arguments.out}",
        file=sys.stderr,
    )


def _render(arguments: argparse.Namespace) -> int:
    """Draw what was asked for; returns the number of questions."""
    size = arguments.size or DEFAULT_SIZE[arguments.world]
    width, height = (int(side) for side in size.lower().split("x"))
    indices = range(arguments.start, arguments.start + arguments.count)
    backgrounds = _backgrounds(arguments.photographs, arguments.split)
    if arguments.frames and arguments.world != "motion":
        raise ValueError("--frames is of the world in motion: leave it out for others")
    if arguments.world == "scenes":
        version = arguments.version or VERSION
        return render_files(
            arguments.split, indices, backgrounds, (width, height), arguments.out, version
        )
    if arguments.version:
        raise ValueError("--version is of the world of scenes: leave it out for others")
    if arguments.world == "motion":
        frames = arguments.frames or DEFAULT_FRAMES
        return render_motion_files(
            arguments.split, indices, backgrounds, (width, height), arguments.out, frames
        )
    fonts = Fonts.installed() if arguments.any_fonts else Fonts.pinned()
    return render_page_files(
        arguments.split, indices, fonts, backgrounds, (width, height), arguments.out
    )


def _backgrounds(folder: Path | None, split: str) -> Backgrounds:
    """The test split has the photographs that everyone has; training takes those of a folder."""
    if folder is None:
        return Backgrounds.builtin()
    return Backgrounds.from_folder(folder, "val" if split == "val" else "train")


if __name__ == "__main__":
    main()
