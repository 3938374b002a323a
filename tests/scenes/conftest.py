"""Many small scenes: what is true of a scene does not depend on the size it is drawn at."""

from __future__ import annotations

import pytest

from scenes import Backgrounds, Scene, render

SIZE = (96, 96)
COUNT = 500


@pytest.fixture(scope="session")
def many() -> list[Scene]:
    """The first scenes of the test split on procedural backgrounds."""
    return [render("test", index, Backgrounds(), SIZE) for index in range(COUNT)]
