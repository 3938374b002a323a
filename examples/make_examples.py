"""Render the example pictures: scenes of the test split, which no weight was trained on.

python -m examples.make_examples
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from PIL import Image

from scenes import Backgrounds, render

FOLDER: Final = Path(__file__).parent
EXAMPLES: Final = {"street": 418, "beach": 618, "field": 23}
"""File name and index in the test split; backgrounds are procedural, so nothing else is needed."""


def main() -> None:
    """Write the pictures and `questions.json`: what may be asked of each, and the right answer."""
    questions = {}
    for name, index in EXAMPLES.items():
        scene = render("test", index, Backgrounds())
        Image.fromarray(scene.picture).save(FOLDER / f"{name}.png", optimize=True)
        questions[name] = [{"prompt": q.prompt, "answer": q.answer} for q in scene.questions]
    (FOLDER / "questions.json").write_text(json.dumps(questions, indent=1) + "\n")


if __name__ == "__main__":
    main()
