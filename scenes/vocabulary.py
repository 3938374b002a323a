"""Every word that captions, questions and answers of this world are made of."""

from __future__ import annotations

import re

from scenes import captions, questions
from scenes.world import CANNOT_TELL, CATEGORIES, COLOURS, KINDS, PLURALS


def vocabulary() -> tuple[str, ...]:
    """All words in alphabetical order. What signs say is not among them: it is to be spelled."""
    texts = [*KINDS, *PLURALS.values(), *COLOURS, *CATEGORIES, *captions.NUMBERS, CANNOT_TELL]
    texts += captions.phrases()
    texts += questions.phrases()
    texts += ("yes", "no", "left", "right", "top", "bottom", "above", "below")
    return tuple(sorted({word for text in texts for word in re.findall("[a-z]+", text)}))
