"""Many small scenes: what is true of a scene does not depend on the size it is drawn at."""

from __future__ import annotations

import pytest

from scenes import WORLDS, Backgrounds, Scene, render

SIZE = (96, 96)
COUNT = 500


@pytest.fixture(scope="session", params=WORLDS)
def version(request: pytest.FixtureRequest) -> int:
    """Each version of the world."""
    return int(request.param)


@pytest.fixture(scope="session")
def many(version: int) -> list[Scene]:
    """The first scenes of the test split on procedural backgrounds."""
    return [render("test", index, Backgrounds(), SIZE, version) for index in range(COUNT)]
