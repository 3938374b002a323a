"""Pictures and questions as files, so that any model can be scored; the same call, the same files.

OUT/scenes.json       what the folder holds: a folder never mixes two worlds
OUT/test-000012.png   picture 12 of the test split
OUT/questions.jsonl   one question a line, as LLaVA's evaluation reads them, with the right answer
OUT/lines.jsonl       of pages only: all print of a picture with its quads, a picture a line

{"question_id": 1203, "image": "test-000012.png", "text": "how many cars?", "category": "count",
 "answer": "3"}
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from scenes.backgrounds import Backgrounds
from scenes.pages import PAGES_VERSION, Fonts, PageSplit, render_page
from scenes.questions import family
from scenes.render import Split, render
from scenes.versions import VERSION
from scenes.world import Question

QUESTIONS = "questions.jsonl"
LINES = "lines.jsonl"
MANIFEST = "scenes.json"
IDS_A_PICTURE = 100
"""A question's id is this times the index of its picture, plus its place in it."""

Rows = dict[str, list[dict[str, Any]]]
"""What one picture adds to each of the JSON lines files."""


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
    questions come last, whole. Raises ValueError where the folder holds other pictures, or no such
    scene can be drawn.
    """

    def drawn() -> Iterator[Rows]:
        for index in indices:
            scene = render(split, index, backgrounds, size, version)
            name = _picture(out, split, index, scene.picture)
            families = [family(scene, question) for question in scene.questions]
            yield {QUESTIONS: _asked(index, name, scene.questions, families)}

    world = {
        "version": version,
        "split": split,
        "size": list(size),
        "photographs": digest_of(backgrounds),
    }
    return write_folder(out, world, drawn())[QUESTIONS]


def render_page_files(
    split: PageSplit,
    indices: range,
    fonts: Fonts,
    backgrounds: Backgrounds,
    size: tuple[int, int],
    out: Path,
) -> int:
    """Write pages into a folder as `render_files` writes scenes, and all their print.

    The category of a question is the kind of its page.
    """

    def drawn() -> Iterator[Rows]:
        for index in indices:
            page = render_page(split, index, fonts, backgrounds, size)
            name = _picture(out, split, index, page.picture)
            print_ = [
                {
                    "text": line.text,
                    "quad": [[round(x, 1), round(y, 1)] for x, y in line.quad],
                    "size": round(line.size, 1),
                }
                for line in page.lines
            ]
            kinds = [page.kind] * len(page.questions)
            yield {
                QUESTIONS: _asked(index, name, page.questions, kinds),
                LINES: [{"image": name, "kind": page.kind, "view": page.view, "lines": print_}],
            }

    world = {
        "world": "pages",
        "version": PAGES_VERSION,
        "split": split,
        "size": list(size),
        "photographs": digest_of(backgrounds),
        "fonts": fonts.digest,
    }
    return write_folder(out, world, drawn())[QUESTIONS]


def write_folder(out: Path, world: Mapping[str, Any], drawn: Iterator[Rows]) -> dict[str, int]:
    """Write what is drawn where nothing else is; returns the rows of each JSON lines file."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / MANIFEST
    if not manifest.exists():
        _write(manifest, json.dumps(world).encode() + b"\n")
    elif json.loads(manifest.read_text()) != world:
        raise ValueError(f"{out} holds other scenes: {manifest.read_text().strip()}")
    files: Rows = {QUESTIONS: []}
    for rows in drawn:
        for name, added in rows.items():
            files.setdefault(name, []).extend(added)
    for name, rows_of_file in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of_file)
        _write(out / name, text.encode())
    return {name: len(rows_of_file) for name, rows_of_file in files.items()}


def _picture(out: Path, split: str, index: int, picture: Any) -> str:
    """The name of a picture's file, which is there afterwards."""
    path = out / f"{split}-{index:06d}.png"
    write_picture(path, picture)
    return path.name


def write_picture(path: Path, picture: Any) -> None:
    """Write a picture u8 [H, W, 3] where none is yet."""
    if not path.exists():
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        _write(path, png.getvalue())


def _asked(
    index: int, image: str, questions: tuple[Question, ...], categories: list[str]
) -> list[dict[str, Any]]:
    return [
        {
            "question_id": IDS_A_PICTURE * index + number,
            "image": image,
            "text": question.prompt,
            "category": category,
            "answer": question.answer,
        }
        for number, (question, category) in enumerate(zip(questions, categories, strict=True))
    ]


def digest_of(backgrounds: Backgrounds) -> str:
    """Names the photographs that may be drawn."""
    names = ",".join(path.name for path in backgrounds.paths)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all (`shared.files` does it elsewhere; Scenes stands alone)."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside = Path(file.name)
    beside.chmod(0o644)
    beside.replace(path)
