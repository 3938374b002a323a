"""Draw the example pictures of the playground: scenes of the test split, never trained on.

python -m cloud_server.playground.make_examples
"""

from __future__ import annotations

import json
from typing import Final

from PIL import Image

from cloud_server.playground.pages import EXAMPLES, STATIC
from scenes import Backgrounds, render

SCENES: Final = {"street": 418, "night": 48, "room": 45, "field": 23, "shop": 57, "beach": 618}
"""File name and index in the test split; backgrounds are procedural, so nothing else is needed."""
MOST_QUESTIONS: Final = 8


def main() -> None:
    """Write the pictures, and the questions with their right answers."""
    questions = {}
    for name, index in SCENES.items():
        scene = render("test", index, Backgrounds())
        Image.fromarray(scene.picture).save(STATIC / f"{name}.png", optimize=True)
        asked = [{"prompt": q.prompt, "answer": q.answer} for q in scene.questions]
        questions[name] = asked[:MOST_QUESTIONS]
    (STATIC / EXAMPLES).write_text(json.dumps(questions, indent=1) + "\n")


if __name__ == "__main__":
    main()
