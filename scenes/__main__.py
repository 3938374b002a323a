"""`python -m scenes render`: pictures and questions as files, so that any model can be scored.

OUT/scenes.json       what the folder holds: a folder never mixes two worlds
OUT/test-000012.png   scene 12 of the test split
OUT/questions.jsonl   one question a line, as LLaVA's evaluation reads them, with the right answer

{"question_id": 1203, "image": "test-000012.png", "text": "how many cars?", "category": "count",
 "answer": "3"}
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from scenes.backgrounds import Backgrounds
from scenes.questions import family
from scenes.render import SPLITS, Split, render
from scenes.versions import VERSION, WORLDS
from scenes.world import Scene

QUESTIONS = "questions.jsonl"
MANIFEST = "scenes.json"
IDS_A_SCENE = 100
"""A question's id is this times the index of its scene, plus its place in it."""


def main(words: list[str] | None = None) -> None:
    """Parse the command line (default: the process's own) and draw what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m scenes", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = commands.add_parser("render", help="write pictures and a JSON lines file of questions")
    own.add_argument("--split", choices=SPLITS, default="test")
    own.add_argument(
        "--version", type=int, choices=tuple(WORLDS), default=VERSION, help="of the world"
    )
    own.add_argument("--start", type=int, default=0, help="index of the first scene")
    own.add_argument("--count", type=int, required=True, help="number of scenes")
    own.add_argument("--size", default="256x256", help="width x height in pixels, at least 64x64")
    own.add_argument(
        "--photographs", type=Path, help="folder of backgrounds; default: scikit-image's, if there"
    )
    own.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(words)
    try:
        width, height = (int(side) for side in arguments.size.lower().split("x"))
        backgrounds = _backgrounds(arguments.photographs, arguments.split)
        count = render_files(
            arguments.split,
            range(arguments.start, arguments.start + arguments.count),
            backgrounds,
            (width, height),
            arguments.out,
            arguments.version,
        )
    except (ValueError, OSError) as error:
        own.error(str(error))
    print(
        f"{arguments.count} pictures and {count} questions in {arguments.out}",
        file=sys.stderr,
    )


def render_files(
    split: Split,
    indices: range,
    backgrounds: Backgrounds,
    size: tuple[int, int],
    out: Path,
    version: int = VERSION,
) -> int:
    """Write scenes into a folder; returns the number of their questions.

    Pictures that are there are not written again, so an interrupted call can be repeated; the
    questions come last, whole. The same call always makes the same files. Raises ValueError where
    the folder holds other scenes, or no such scene can be drawn.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = ",".join(path.name for path in backgrounds.paths)
    world = {
        "version": version,
        "split": split,
        "size": list(size),
        "photographs": hashlib.sha256(names.encode()).hexdigest()[:16],
    }
    manifest = out / MANIFEST
    if not manifest.exists():
        _write(manifest, lambda file: file.write(json.dumps(world).encode() + b"\n"))
    elif json.loads(manifest.read_text()) != world:
        raise ValueError(f"{out} holds other scenes: {manifest.read_text().strip()}")
    lines = []
    for index in indices:
        scene = render(split, index, backgrounds, size, version)
        picture = out / f"{split}-{index:06d}.png"
        if not picture.exists():
            image = Image.fromarray(scene.picture)
            _write(picture, lambda file, image=image: image.save(file, "PNG"))
        lines += _lines(scene, index, picture.name)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    _write(out / QUESTIONS, lambda file: file.write(text.encode()))
    return len(lines)


def _lines(scene: Scene, index: int, image: str) -> list[dict[str, object]]:
    return [
        {
            "question_id": IDS_A_SCENE * index + number,
            "image": image,
            "text": question.prompt,
            "category": family(scene, question),
            "answer": question.answer,
        }
        for number, question in enumerate(scene.questions)
    ]


def _backgrounds(folder: Path | None, split: Split) -> Backgrounds:
    """The test split has the photographs that everyone has; training takes those of a folder."""
    if folder is None:
        return Backgrounds.builtin()
    return Backgrounds.from_folder(folder, "val" if split == "val" else "train")


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    beside = Path(file.name)
    beside.chmod(0o644)
    beside.replace(path)


if __name__ == "__main__":
    main()
