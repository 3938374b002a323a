"""The memory of an encode is bounded by what Pillow needs: no second copy of the whole picture."""

from __future__ import annotations

import pytest

from evaluation.machine.picture_memory import measure

MEGAPIXELS = 16.0


@pytest.fixture(scope="module")
def code_alone() -> float:
    """Megabytes without a picture worth the name."""
    return measure("JPEG", 0.1)


@pytest.mark.parametrize(
    ("form", "most"),
    # Bytes a pixel. A JPEG is decoded at an eighth of its size; Pillow keeps 4 bytes of RGB.
    [("JPEG", 0.5), ("PNG, TIFF, BMP", 4.5), ("PNG, 16 bits of grey", 2.5)],
)
def test_bytes_a_pixel(form: str, most: float, code_alone: float) -> None:
    assert measure(form, MEGAPIXELS) - code_alone < most * MEGAPIXELS
