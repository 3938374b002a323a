"""Clips as folders of frames with their questions, so that any model can be scored.

OUT/scenes.json               what the folder holds
OUT/test-000012/0000.png ...  the frames of clip 12 of the test split
OUT/questions.jsonl           one question a line, with the right answer and its probes
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scenes.backgrounds import Backgrounds
from scenes.files import IDS_A_PICTURE, QUESTIONS, Rows, digest_of, write_folder, write_picture
from scenes.motion.track import MOTION_VERSION, render_track
from scenes.render import Split


def render_motion_files(
    split: Split,
    indices: range,
    backgrounds: Backgrounds,
    size: tuple[int, int],
    out: Path,
    frames: int = 8,
) -> int:
    """Write clips into a folder as `scenes.files.render_files` writes scenes."""

    def drawn() -> Iterator[Rows]:
        for index in indices:
            track = render_track(split, index, backgrounds, size, frames)
            name = f"{split}-{index:06d}"
            (out / name).mkdir(exist_ok=True)
            for number, picture in enumerate(track.pictures):
                write_picture(out / name / f"{number:04d}.png", picture)
            yield {
                QUESTIONS: [
                    {
                        "question_id": IDS_A_PICTURE * index + place,
                        "clip": name,
                        "text": question.prompt,
                        "category": question.task,
                        "answer": question.answer,
                        "probes": [probe._asdict() for probe in question.probes],
                    }
                    for place, question in enumerate(track.questions)
                ]
            }

    world = {
        "world": "motion",
        "version": MOTION_VERSION,
        "split": split,
        "size": list(size),
        "frames": frames,
        "photographs": digest_of(backgrounds),
    }
    return write_folder(out, world, drawn())[QUESTIONS]
